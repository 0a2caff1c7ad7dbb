#!/usr/bin/env python3
"""Does `hsmux capacity` find what is true? Simulated HSMs whose capacity, knee and limit are known from their settings.

usage: tests/bench/capacity_shapes.py HSMUX SIMHSM [SHAPE...]
Writes a line of docs/performance.md's table for each shape. It needs an idle machine; each shape takes about 40 s.
"""
import json
import os
import subprocess
import sys
import tempfile

SIGN = "[[time]]\nfunction = 'C_Sign'\n"
# name: settings, slots, capacity a second, knee (sessions per slot), limit, verdict, more arguments
SHAPES = {
    "few engines": ("[[hsm]]\nengines = 2\n" + SIGN + "us = 1000\n", 1, 2000, 2, "token", "stable", []),
    "many engines": ("[[hsm]]\nengines = 32\n" + SIGN + "us = 4000\n", 1, 8000, 32, "token", "stable", []),
    "two slots": ("[[hsm]]\nengines = 8\n" + SIGN + "us = 1000\n", 2, 16000, 8, "token", "stable", []),
    "jittery": ("[[hsm]]\nengines = 8\n" + SIGN + "kind = 'jitter'\nus = 1000\nshare = 0.5\n", 1, 8000, 8, "token", "stable", []),
    "bimodal": ("[[hsm]]\nengines = 8\n" + SIGN + "kind = 'bimodal'\nus = 1000\nslow_us = 10000\nshare = 0.1\n",
                1, 8 / 1.9e-3, 8, "token", "stable", ["--goal", "p99<=50ms"]),
    "unequal slots": ("[[hsm]]\nengines = 8\n[[time]]\nslot = 'sim-1'\nfunction = 'C_Sign'\nus = 4000\n" + SIGN + "us = 1000\n",
                      2, 10000, 8, "token", "stable", []),
    # One of the token's sessions is hsmux's anchor.
    "session limit": ("[limits]\nsessions_max = 5\n[[hsm]]\nengines = 8\n" + SIGN + "us = 1000\n", 1, 4000, 4, "sessions", "stable", []),
    # Init and signature each cost a round trip: 5 + 5 + 1 ms.
    "slow round trips": ("[[hsm]]\nengines = 8\nround_trip_us = 5000\n" + SIGN + "us = 1000\n",
                         1, 32 / 11e-3, 32, "network time", "stable", ["--sessions-max", "32", "--goal", "p99<=50ms"]),
    "degrades": ("[[hsm]]\nengines = 8\n" + SIGN + "kind = 'drifting'\nus = 1000\nslow_us = 2000\nover_us = 25000000\n",
                 1, 4000, 8, "token", "falling", []),
    "throttles": ("[[hsm]]\nengines = 8\nthrottle = { per_second = 5000, burst = 100 }\n" + SIGN + "us = 1000\n",
                  1, 5000, 5, "token", "stable", []),
}


def write(path, text, mode=0o600):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, mode), "w") as file:
        file.write(text)


def run(program, module, name):
    settings, slots, capacity, knee, limit, verdict, arguments = SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:
        tokens = "".join(f"[[token]]\nlabel = 'sim-{i}'\n" for i in range(slots))
        write(f"{folder}/sim.toml", "mode = 'own'\nanswers = 'canned'\nspare_slot = false\n" + tokens + settings)
        write(f"{folder}/pin", "1234")
        config = (f"[module.sim]\npath = '{os.path.abspath(module)}'\nenvironment = {{ HSMUX_SIM_CONFIG = '{folder}/sim.toml' }}\n"
                  "[keys]\ndevelopment_software_keys = true\n")
        for i in range(slots):
            config += f"[[slot]]\nname = 'sim-{i}'\ntoken_label = 'sim-{i}'\npin = {{ file = '{folder}/pin' }}\n"
        write(f"{folder}/hsmux.toml", config)
        ended = subprocess.run([program, "--config", f"{folder}/hsmux.toml", "capacity", "run", "--seconds", "1.2",
                                "--warm-up", "0.4", "--repeats", "3", "--logins-per-minute", "6000", "--opens-per-second",
                                "10000", "--unchecked", "--json", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        print(f"{name}: {ended.stderr[-500:]}", file=sys.stderr)
        return False
    result = json.loads(ended.stdout)
    found, sessions = result["capacity"], result["sessions"]
    steps = [point["sessions"] for point in sessions["points"]]
    near = min(range(len(steps)), key=lambda i: abs(steps[i] - knee))
    right = (abs(found["mean"] / capacity - 1) <= 0.03 and abs(steps.index(sessions["knee"]) - near) <= 1 and
             result["limit"]["kind"] == limit and found["stability"]["verdict"] == verdict)
    print(f"| {name} | {capacity:,.0f} | {found['mean']:,.0f} ({found['low']:,.0f}–{found['high']:,.0f}) | "
          f"{found['mean'] / capacity:.3f} | {knee} | {sessions['knee']} | {limit} | {result['limit']['kind']} | "
          f"{found['stability']['verdict']} | {result['goal']['rate']:,.0f} | {'yes' if right else '**no**'} |", flush=True)
    return right


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    print("| shape | true /s | found /s (95 %) | ratio | true knee | found | true limit | found | verdict | keeps the goal /s | right |\n"
          "|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    sys.exit(0 if all([run(sys.argv[1], sys.argv[2], name) for name in sys.argv[3:] or SHAPES]) else 1)


if __name__ == "__main__":
    main()
