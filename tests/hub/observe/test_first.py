import subprocess
from fastapi.testclient import TestClient
def test_x(client: TestClient) -> None:
    client.get("/api/v1/rollouts/r-abcdefgh"); client.get("/nothing"); client.get("/api/v1/devices")
    a = client.get("/metrics")
    print("\n".join(l for l in a.text.splitlines() if "requests_total" in l))
    print(subprocess.run(["promtool","check","metrics"],input=a.text,text=True,capture_output=True))
    a = client.get("/metrics", headers={"accept":"application/openmetrics-text; version=1.0.0"})
    print(a.headers, a.text[-300:])
    assert 0
