"""From the declaration of a sink to the sink."""

from shoal_agent.features.places import allowed_path
from shoal_agent.features.sinks.file import RotatedFile
from shoal_agent.features.sinks.hook import Hook, find_hook
from shoal_agent.features.sinks.http import Posts
from shoal_agent.features.sinks.mqtt import Publications
from shoal_agent.features.sinks.sink import Sink
from shoal_agent.settings import FeatureSettings
from shoal_contract.features import FileSink, HttpSink, MqttSink
from shoal_contract.features import Sink as Declared


def make_sink(declared: Declared, settings: FeatureSettings) -> Sink:
    """Return the sink that a pipeline declares.

    Raises:
        FeaturesError: The device's owner does not allow it, or has not defined it.
    """
    match declared:
        case MqttSink():
            return Publications(declared, settings.sink_timeout_s)
        case HttpSink():
            return Posts(declared.url, settings.sink_timeout_s)
        case FileSink():
            path = allowed_path(declared.path, settings.folders, "writing results to a file")
            return RotatedFile(path, declared.max_bytes, declared.kept_files)
        case _:
            return Hook(declared.name, find_hook(settings.hooks_file, declared.name), settings.sink_timeout_s)
