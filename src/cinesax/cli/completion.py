"""Print a shell's completion script: the Tab key completes commands, options and file names.

bash:  eval "$(cinesax completion bash)"                                        in ~/.bashrc
zsh:   eval "$(cinesax completion zsh)"                                         in ~/.zshrc, after compinit
fish:  cinesax completion fish > ~/.config/fish/completions/cinesax.fish        once
"""

import argparse
import sys

SHELLS = ("bash", "zsh", "fish")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["cinesax"], shell=args.shell) + "\n")
