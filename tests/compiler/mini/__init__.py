from mini._mini import launch, versions

__all__ = ["launch", "versions"]
