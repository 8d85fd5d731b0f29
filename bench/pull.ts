/**
 * Pulling a Debian image from docker-registry on the loopback, beside `skopeo copy` and `umoci unpack`.
 *
 *     node bench/pull.ts [ROUNDS]        as root; 3 rounds unless told. The first time it makes the image (a minute)
 *
 * What is compared takes turns; medians count. Prints a table. "Cold" is into an empty repository or layout; "again" finds
 * everything there; then one layer of the image has changed: one file of ten in it. The registry's files are in the page
 * cache. The repository is insecure, so that cfsboot hashes objects itself. All end with what they wrote on the disk:
 * cfsboot syncs anyway, the others are followed by `sync -f`.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startDockerRegistry } from "../test/oci/fixtures/docker-registry.ts";
import { Measure, median, type Run } from "./measure/measure.ts";

const program = fileURLToPath(new URL("../dist/cfsboot.mjs", import.meta.url));
const cache = fileURLToPath(new URL("../.cache/bench", import.meta.url));
const layout = join(cache, "image");

/** In order, with the tag that is pulled. */
const STEPS = [
  { name: "cold", tag: "first", unpacks: true },
  { name: "again", tag: "first", unpacks: false },
  { name: "one layer changed", tag: "second", unpacks: true },
] as const;
type Step = (typeof STEPS)[number];

interface Contender {
  readonly name: string;
  /** Shell command of a step, in a directory that lasts for all steps of a round. */
  command(image: string, step: Step): string;
}

const OURS = "cfsboot image pull";
const cfsboot = `"${process.execPath}" "${program}"`;
const contenders: readonly Contender[] = [
  {
    name: OURS,
    command: (image, { tag }) =>
      `${cfsboot} image pull --repo repository --tls-verify=false docker://${image}:${tag} debian`,
  },
  {
    name: "skopeo copy",
    command: (image, { tag }) =>
      `skopeo copy --quiet --src-tls-verify=false docker://${image}:${tag} oci:layout:${tag} && sync -f .`,
  },
  {
    name: "skopeo copy, umoci unpack",
    // what is there already is not unpacked again; a changed image is, as a whole: umoci knows no other way
    command: (image, { tag, unpacks }) =>
      `skopeo copy --quiet --src-tls-verify=false docker://${image}:${tag} oci:layout:${tag} && ${
        unpacks ? `umoci unpack --image layout:${tag} bundle-${tag} > log 2>&1 && ` : ""
      }sync -f .`,
  },
];

function shell(command: string): void {
  execFileSync("sh", ["-c", command], { stdio: ["ignore", "ignore", "inherit"] });
}

/** Files of `first`, compressed, in bytes. */
function layoutSize(): number {
  const blobs = join(layout, "blobs/sha256");
  return readdirSync(blobs).reduce((sum, name) => sum + statSync(join(blobs, name)).size, 0);
}

async function main(rounds: number): Promise<void> {
  mkdirSync(cache, { recursive: true });
  if (!existsSync(layout)) shell(`"${join(import.meta.dirname, "image.sh")}" "${layout}"`);
  const scratch = mkdtempSync(join(cache, "pull-"));
  const { host, child } = await startDockerRegistry(scratch);
  try {
    const measure = new Measure(scratch);
    const image = `${host}/debian`;
    for (const { tag } of STEPS) {
      shell(
        `skopeo copy --quiet --dest-tls-verify=false oci:${layout}:${tag} docker://${image}:${tag}`,
      );
    }
    const runs = new Map<string, Run[]>();
    const at = (contender: Contender, step: Step) => `${contender.name} ${step.name}`;
    for (let round = 0; round < rounds; round++) {
      for (const contender of contenders) {
        const place = mkdtempSync(join(scratch, "round-"));
        shell(`${cfsboot} repo init --repo "${place}/repository" --insecure && sync`);
        for (const step of STEPS) {
          const command = `cd "${place}" && ${contender.command(image, step)}`;
          const [run] = measure.run(["/bin/sh", "-c", command]);
          const key = at(contender, step);
          runs.set(key, [...(runs.get(key) ?? []), run!]);
        }
        rmSync(place, { recursive: true });
      }
    }
    report(rounds, (contender, step) => runs.get(at(contender, step))!);
  } finally {
    child.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function report(rounds: number, runsOf: (contender: Contender, step: Step) => Run[]): void {
  const [ours] = contenders;
  const seconds = (runs: readonly Run[]) => runs.map(({ microseconds }) => microseconds / 1e6);
  console.log(
    `Two images of three layers, two of which they share, ${(layoutSize() / 1e6).toFixed(0)} MB of gzip together; ${rounds} rounds\n`,
  );
  const heading = ["seconds", "from", "to", "peak MiB", "× cfsboot"];
  console.log(" ".repeat(46) + heading.map((text) => text.padStart(11)).join(""));
  for (const step of STEPS) {
    const reference = median(seconds(runsOf(ours!, step)));
    for (const contender of contenders) {
      const runs = runsOf(contender, step);
      const times = seconds(runs);
      const figures = [
        ...[median(times), Math.min(...times), Math.max(...times)].map((time) => time.toFixed(2)),
        (Math.max(...runs.map(({ peak }) => peak)) / 1024).toFixed(0),
        (median(times) / reference).toFixed(2),
      ];
      const name = `${step.name.padEnd(19)}${contender.name}`;
      console.log(name.padEnd(46) + figures.map((text) => text.padStart(11)).join(""));
    }
  }
}

await main(Number(process.argv[2] ?? 3));
