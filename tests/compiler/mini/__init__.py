from mini._core import launch, versions

__all__ = ["launch", "versions"]
