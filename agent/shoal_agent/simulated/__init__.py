"""Many simulated devices in one process: the agent's own parts over real MQTT, on disks in memory, with faults.

`python -m shoal_agent.simulated` runs some of them; `shoal fleet simulate` at the hub starts as many of those processes
as the machine has cores. docs/adr/0018 says what is real and what is shared.
"""
