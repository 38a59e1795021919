from pathlib import Path
from efface.erasure.result import ErasureResult
def write_page(result: ErasureResult, out: Path) -> None:
    """x"""
