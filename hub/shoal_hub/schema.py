"""Every table of the hub in one metadata, for migrations and for the test that holds the two together."""

from sqlmodel import SQLModel

import shoal_hub.alerts.tables
import shoal_hub.approvals.tables
import shoal_hub.audit.tables
import shoal_hub.automation.tables
import shoal_hub.batch_inference.tables
import shoal_hub.batches.tables
import shoal_hub.benchmarks.tables
import shoal_hub.captures.tables
import shoal_hub.compositions.tables
import shoal_hub.compression.tables
import shoal_hub.controller.tables
import shoal_hub.devices.admission_tables
import shoal_hub.devices.certificates
import shoal_hub.devices.desired_tables
import shoal_hub.devices.group_tables
import shoal_hub.devices.placement_tables
import shoal_hub.devices.tables
import shoal_hub.devices.wrapped_keys
import shoal_hub.drift_history.tables
import shoal_hub.events.tables
import shoal_hub.features.tables
import shoal_hub.federation.tables
import shoal_hub.gates.tables
import shoal_hub.jobs.tables
import shoal_hub.monitoring.accepted
import shoal_hub.monitoring.tables
import shoal_hub.online_features.tables
import shoal_hub.operators.tables
import shoal_hub.registry.cost_tables
import shoal_hub.registry.encrypt
import shoal_hub.registry.tables
import shoal_hub.registry.tracked_tables
import shoal_hub.rollouts.tables
import shoal_hub.sites.tables
import shoal_hub.tracing.tables
import shoal_hub.tracking.tables
import shoal_hub.traffic.tables
import shoal_hub.transfer.tables
import shoal_hub.trials.tables
import shoal_hub.trust.tables  # noqa: F401 - importing a tables module registers its tables

METADATA = SQLModel.metadata
