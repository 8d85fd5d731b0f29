/**
 * Pulling a Debian image from docker-registry on the loopback, beside `skopeo copy` and `umoci unpack`, `podman pull`, and
 * `cfsctl oci pull`.
 *
 *     node bench/pull.ts [ROUNDS [OTHER]]   as root; 3 rounds unless told. The first time it makes the image (a minute)
 *
 * OTHER is the `cfsboot.mjs` of another build, which takes part, too.
 *
 * What is compared takes turns; medians count. Prints a table. "Cold" is into an empty repository, layout or storage; "again"
 * finds everything there; then one layer of the image has changed: one file of ten in it. The registry's files are in the
 * page cache. The repositories are insecure, so that cfsboot and cfsctl hash objects themselves. All end with what they
 * wrote on the disk: cfsboot syncs anyway, the others are followed by `sync -f`.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
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
const cfsbootAt = (path: string) => `"${process.execPath}" "${path}"`;
const cfsboot = cfsbootAt(program);

/** `into` is the repository's name. */
const pullBy =
  (build: string, into: string): Contender["command"] =>
  (image, { tag }) =>
    `${build} image pull --repo ${into} --tls-verify=false docker://${image}:${tag} debian`;

/** Which of the programs that these commands need are not installed. */
function missing(...programs: string[]): string[] {
  return programs.filter(
    (name) => spawnSync("sh", ["-c", `command -v ${name}`], { stdio: "ignore" }).status !== 0,
  );
}

function contendersWith(other: string | undefined): Contender[] {
  const all: (Contender & { readonly programs: readonly string[] })[] = [
    { name: OURS, programs: [], command: pullBy(cfsboot, "repository") },
    {
      name: "skopeo copy",
      programs: ["skopeo"],
      command: (image, { tag }) =>
        `skopeo copy --quiet --src-tls-verify=false docker://${image}:${tag} oci:copied:${tag} && sync -f .`,
    },
    {
      name: "skopeo copy, umoci unpack",
      programs: ["skopeo", "umoci"],
      // what is there already is not unpacked again; a changed image is, as a whole: umoci knows no other way
      command: (image, { tag, unpacks }) =>
        `skopeo copy --quiet --src-tls-verify=false docker://${image}:${tag} oci:layout:${tag} && ${
          unpacks ? `umoci unpack --image layout:${tag} bundle-${tag} > log 2>&1 && ` : ""
        }sync -f .`,
    },
    {
      name: "podman pull",
      programs: ["podman"],
      command: (image, { tag }) =>
        `podman --root "$PWD/storage" --runroot "$PWD/run" --storage-driver overlay pull --quiet --tls-verify=false docker://${image}:${tag} && sync -f .`,
    },
    {
      name: "cfsctl oci pull",
      programs: ["cfsctl", "skopeo"],
      // the home directory has the registries.conf that allows HTTP
      command: (image, { tag }) =>
        `HOME="$PWD" cfsctl --repo "$PWD/reference" oci pull docker://${image}:${tag} debian && sync -f .`,
    },
  ];
  if (other !== undefined)
    all.splice(1, 0, {
      name: "another build of cfsboot",
      programs: [],
      command: pullBy(cfsbootAt(other), "other"),
    });
  return all.filter(({ name, programs }) => {
    const lacking = missing(...programs);
    if (lacking.length > 0) console.log(`${name}: not installed: ${lacking.join(", ")}`);
    return lacking.length === 0;
  });
}

/** A directory for one contender of a round, with empty repositories. */
function prepare(place: string, host: string, contender: Contender): void {
  const init = (name: string) => `${cfsboot} repo init --repo "${place}/${name}" --insecure`;
  if (contender.name.includes("cfsboot")) shell(`${init("repository")} && ${init("other")}`);
  if (contender.name.startsWith("cfsctl")) {
    shell(`cfsctl init --algorithm fsverity-sha512-12 --insecure "${place}/reference"`);
    const configuration = join(place, ".config/containers");
    mkdirSync(configuration, { recursive: true });
    const registry = `[[registry]]\nlocation = "${host}"\ninsecure = true\n`;
    writeFileSync(join(configuration, "registries.conf"), registry);
  }
  shell("sync");
}

function shell(command: string): void {
  execFileSync("sh", ["-c", command], { stdio: ["ignore", "ignore", "inherit"] });
}

/** Files of `first`, compressed, in bytes. */
function layoutSize(): number {
  const blobs = join(layout, "blobs/sha256");
  return readdirSync(blobs).reduce((sum, name) => sum + statSync(join(blobs, name)).size, 0);
}

async function main(rounds: number, other: string | undefined): Promise<void> {
  const contenders = contendersWith(other);
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
      // nobody has the same place, which may be a bad one, in every round
      for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
        const place = mkdtempSync(join(scratch, "round-"));
        prepare(place, host, contender);
        for (const step of STEPS) {
          const command = `cd "${place}" && ${contender.command(image, step)}`;
          const [run] = measure.run(["/bin/sh", "-c", command]);
          const key = at(contender, step);
          runs.set(key, [...(runs.get(key) ?? []), run!]);
        }
        // Nothing is removed before the end: for a minute, ext4 does not use the inodes of what was removed again, and
        // who makes files has to look for others.
      }
    }
    report(rounds, contenders, (contender, step) => runs.get(at(contender, step))!);
  } finally {
    child.kill();
    rmSync(scratch, { recursive: true, force: true });
  }
}

function report(
  rounds: number,
  contenders: readonly Contender[],
  runsOf: (contender: Contender, step: Step) => Run[],
): void {
  const [ours] = contenders;
  const seconds = (runs: readonly Run[]) => runs.map(({ microseconds }) => microseconds / 1e6);
  console.log(
    `Two images of three layers, two of which they share, ${(layoutSize() / 1e6).toFixed(0)} MB of gzip together; ${rounds} rounds\n`,
  );
  const heading = ["seconds", "from", "to", "× cfsboot", "processor", "× cfsboot", "peak MiB"];
  console.log(" ".repeat(46) + heading.map((text) => text.padStart(11)).join(""));
  for (const step of STEPS) {
    const processor = (runs: readonly Run[]) => runs.map((run) => run.processor / 1e6);
    const reference = runsOf(ours!, step);
    for (const contender of contenders) {
      const runs = runsOf(contender, step);
      const times = seconds(runs);
      const ratio = (of: (runs: readonly Run[]) => number[]) =>
        median(of(runs)) / median(of(reference));
      const figures = [
        ...[median(times), Math.min(...times), Math.max(...times)],
        ratio(seconds),
        median(processor(runs)),
        ratio(processor),
      ].map((figure) => figure.toFixed(2));
      figures.push((Math.max(...runs.map(({ peak }) => peak)) / 1024).toFixed(0));
      const name = `${step.name.padEnd(19)}${contender.name}`;
      console.log(name.padEnd(46) + figures.map((text) => text.padStart(11)).join(""));
    }
  }
}

await main(Number(process.argv[2] ?? 3), process.argv[3]);
