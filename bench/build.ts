/**
 * EROFS images from a dump file of 20,000 entries, beside C's mkcomposefs where that is to be had.
 *
 *     node bench/build.ts [ENTRIES] [RUNS]
 *
 * Prints a table: programs take turns, and medians of whole runs count, with reading the dump and writing the image. Both
 * write the format that C's mkcomposefs writes when it is asked for nothing else, and the images must be the same.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cTools } from "../test/c-tools/c-tools.ts";
import { Measure, median, type Run } from "./measure/measure.ts";

const program = fileURLToPath(new URL("../dist/cfsboot.mjs", import.meta.url));

/** Directories of fifty files each, most of them with content in the object store, as a distribution has them. */
function dump(entries: number): string {
  const lines = ["/ 0 40755 2 0 0 0 1700000000.0 - - -"];
  let directory = "";
  for (let i = 1; i < entries; i++) {
    const time = `${1_700_000_000 + i}.0`;
    if (i % 50 === 1) {
      directory = `/directory-${i}`;
      lines.push(`${directory} 0 40755 2 0 0 0 ${time} - - -`);
    } else if (i % 10 === 0) {
      lines.push(`${directory}/link-${i} 9 120777 1 0 0 0 ${time} ../target - -`);
    } else if (i % 10 === 5) {
      lines.push(`${directory}/small-${i} 5 100644 1 0 0 0 ${time} - hello - security.label=value`);
    } else {
      const digest = i.toString(16).padStart(64, "0");
      const object = `${digest.slice(0, 2)}/${digest.slice(2)}`;
      lines.push(`${directory}/file-${i} ${i * 7} 100644 1 0 0 0 ${time} ${object} - ${digest}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

const entries = Number(process.argv[2] ?? 20_000);
const rounds = Number(process.argv[3] ?? 7);
const scratch = mkdtempSync(join(tmpdir(), "bench-build-"));
try {
  const file = join(scratch, "root.dump");
  writeFileSync(file, dump(entries));
  const ours = join(scratch, "ours.cfs");
  const theirs = join(scratch, "theirs.cfs");
  const commands = new Map([
    [
      "cfsboot erofs build",
      [process.execPath, program, "erofs", "build", "--format=0", "--hash=sha256", file, ours],
    ],
  ]);
  const tools = cTools();
  if (typeof tools === "string") console.log(`${tools}\n`);
  else
    commands.set("mkcomposefs (C)", [...tools.command("mkcomposefs"), "--from-file", file, theirs]);

  const measure = new Measure(scratch);
  const runs = new Map<string, Run[]>();
  for (let round = 0; round < rounds; round++) {
    for (const [name, command] of commands) {
      runs.set(name, [...(runs.get(name) ?? []), ...measure.run(command)]);
    }
  }
  console.log(`${entries.toLocaleString("en")} entries, ${rounds} runs\n`);
  console.log(
    `${" ".repeat(24)}${["ms", "from", "to", "peak MiB"].map((t) => t.padStart(10)).join("")}`,
  );
  for (const [name, all] of runs) {
    const times = all.map(({ microseconds }) => microseconds / 1000);
    const figures = [
      ...[median(times), Math.min(...times), Math.max(...times)],
      Math.max(...all.map(({ peak }) => peak)) / 1024,
    ];
    console.log(name.padEnd(24) + figures.map((value) => value.toFixed(0).padStart(10)).join(""));
  }
  if (typeof tools !== "string") {
    const same = readFileSync(ours).equals(readFileSync(theirs));
    console.log(`\nThe images are ${same ? "the same" : "NOT the same"}.`);
    if (!same) process.exitCode = 1;
  }
} finally {
  rmSync(scratch, { recursive: true });
}
