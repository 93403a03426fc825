"""The door: `--version` answers before anything heavy is loaded."""

import sys


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        from refundcli import __version__

        print(f"refundcli {__version__}")
        return
    from refundcli.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()
