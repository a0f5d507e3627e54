def config_schema(kind: str) -> dict:
    return {}
