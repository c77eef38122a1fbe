"""Settings: a file a setting, each with a `get_config(arguments)`; `--config` names the file."""
