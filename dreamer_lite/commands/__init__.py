"""The commands of `dreamer-lite`. Read `parser.py` first: it lists every command and option.

Exit status 0: done. 1: training broke (NaN, full disk), and the last checkpoint is good; or
`doctor` has found something missing. 2: the request is invalid, and one sentence says what is
valid. 129, 130 and 143: the command was stopped by SIGHUP (its terminal was closed), Ctrl-C or
SIGTERM, after saving.

The modules import JAX and everything that imports it inside functions, so that `--help` and errors
are quick and the first update comes soon.
"""
