"""The entry point: `--version` and the shell's completion are answered before slow imports."""

import sys


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        from refundcli import __version__

        print(f"refundcli {__version__}")
        return
    if sys.argv[1:2] == ["__complete"]:
        from refundcli.cli.completion import main as complete

        complete(sys.argv[2:])
        return
    import gc

    # By default Python collects garbage every 700 objects, and a command creates a hundred thousand before it starts.
    gc.set_threshold(200_000, 20, 20)
    from refundcli.cli.main import run

    exit_code = run()
    # Skip these objects in later collections.
    gc.freeze()
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
