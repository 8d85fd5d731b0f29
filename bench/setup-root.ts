/**
 * composefs-setup-root: size, run time and peak memory, in a mount namespace, without fs-verity (`?`).
 *
 *     node bench/setup-root.ts [RUNS]        as root
 *
 * Prints a table. Times are from before the fork to after the wait and include all mounts; "an empty program" is what of
 * it the measuring costs.
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  cannotMount,
  makePhysicalRoot,
  type PhysicalRoot,
  removeAll,
} from "../test/initrd/physical-root.ts";
import { compileStatic, Measure } from "./measure/measure.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const program = join(here, "../dist/composefs-setup-root");
const scratch = mkdtempSync(join(tmpdir(), "bench-setup-root-"));
const measure = new Measure(scratch);

interface Measured {
  /** Microseconds, ascending. */
  readonly times: number[];
  /** KiB */
  readonly peak: number;
}

function run(runs: number, umount: string, command: readonly string[]): Measured {
  const wrapper = ["unshare", "-m", "--propagation", "private"];
  const rows = measure.run(command, { runs, umount, wrapper });
  return {
    times: rows.map(({ microseconds }) => microseconds).sort((a, b) => a - b),
    peak: Math.max(...rows.map(({ peak }) => peak)),
  };
}

function build(): string {
  const empty = join(scratch, "empty");
  writeFileSync(`${empty}.c`, "int main(void) { return 0; }\n");
  compileStatic(`${empty}.c`, empty);
  return empty;
}

function setupRoot(runs: number, root: PhysicalRoot, conf: string): Measured {
  const file = join(scratch, "conf.toml");
  writeFileSync(file, conf);
  const args = ["--sysroot", root.path, "--config", file, "--target", root.path];
  return run(runs, root.path, [program, ...args, "--cmdline", `composefs=?${root.digest}`]);
}

function row(name: string, { times, peak }: Measured): string {
  const at = (share: number) => times[Math.floor(share * (times.length - 1))]!.toFixed(0);
  const columns = [at(0.5), at(0.1), at(0.9), String(peak)];
  return name.padEnd(34) + columns.map((text) => text.padStart(12)).join("");
}

function main(runs: number): void {
  const why = cannotMount();
  if (why !== undefined) throw new Error(why);
  const empty = build();
  const root = makePhysicalRoot("sha512");
  console.log(
    `composefs-setup-root: ${statSync(program).size.toLocaleString("en")} bytes, static; ${runs} runs\n`,
  );
  const heading = ["median µs", "10 % µs", "90 % µs", "peak KiB"];
  console.log(" ".repeat(34) + heading.map((text) => text.padStart(12)).join(""));
  console.log(row("an empty program", run(runs, "-", [empty])));
  console.log(row("--help", run(runs, "-", [program, "--help"])));
  for (const [name, conf] of [
    ["root, /etc and /var bound", ""],
    ["the same, through a loop device", '[cfsboot]\nerofs = "loop"\n'],
    ["the same, layers as paths", '[cfsboot]\nlayers = "paths"\n'],
    ["transient root, /etc overlay", '[root]\ntransient = true\n[etc]\nmount = "overlay"\n'],
  ] as const) {
    console.log(row(name, setupRoot(runs, root, conf)));
  }
}

try {
  main(Number(process.argv[2] ?? 200));
} finally {
  removeAll();
  rmSync(scratch, { recursive: true });
}
