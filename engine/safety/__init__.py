"""What strangers wrote, made harmless: their JSON, YAML, names, secrets, and text to be shown."""
