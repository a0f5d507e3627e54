"""Where images come from: each kind of source lists inputs, and reads them one by one."""
