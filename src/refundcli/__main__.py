"""The door: `--version` answers before anything heavy is loaded."""

import sys


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        from refundcli import __version__

        print(f"refundcli {__version__}")
        return
    import gc

    # Python looks for cycles at every 700 new objects, and a command makes a hundred thousand before it begins.
    gc.set_threshold(200_000, 20, 20)
    from refundcli.cli.main import run

    code = run()
    # Nor need it look through all of them once more before it ends.
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
