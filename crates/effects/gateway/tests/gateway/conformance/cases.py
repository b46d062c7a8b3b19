# Runs the cases of one file against a gateway, and says what came back where it was not what must.
#
# It prints the port of its origin, and reads the gateway's address from standard input.
import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from origin import Origin


def main():
    which, only = sys.argv[1], sys.argv[2:]
    origin = Origin()
    print(origin.port, flush=True)
    host, port = sys.stdin.readline().split()
    module = importlib.import_module(which)
    cases = [one for one in module.CASES if not only or only[0] in one[1]]

    def judge(one):
        began = time.monotonic()
        try:
            got = module.run((host, int(port)), origin, one)
        except Exception as error:  # noqa: BLE001: whatever it is, it is told
            got = f"{type(error).__name__}: {error}"
        return got, time.monotonic() - began

    failed = known = 0
    with ThreadPoolExecutor(8) as pool:
        for one, (got, took) in zip(cases, pool.map(judge, cases)):
            section, what, expected, _, excuse = one
            # What is known and has gone is to be taken out.
            if excuse is None and got in expected:
                word = "ok"
            elif excuse is not None and got == excuse[0] and got not in expected:
                word, known = f"KNOWN ({excuse[1]})", known + 1
            else:
                word, failed = "FAILED", failed + 1
            if word != "ok" or only:
                print(f"{word}: {section} {what}: {got}, and must be {' or '.join(expected)} [{took:.1f} s]")
    never = [target for target in origin.seen if target.startswith("/never/")]
    if never:
        failed += 1
        print(f"FAILED: an instance was sent {never}")
    print(f"{len(cases)} cases, {known} known, {failed} failed")
    sys.exit(1 if failed else 0)


main()
