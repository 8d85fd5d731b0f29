/** `cfsboot repo fsck` */
import type { Command } from "commander";
import { algorithmName, effectiveFormats } from "../../src/formats/meta-json.ts";
import { DigestSet } from "../../src/model/digest-set.ts";
import type { ImagesReport } from "../oci/fsck.ts";
import type { RepairFailure } from "../oci/repair.ts";
import type { Finding } from "../repository/finding.ts";
import type { FsckReport } from "../repository/fsck.ts";
import type { Repository } from "../repository/repository.ts";
import { describeError, UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { openTransport, type RegistryFlags, registryOptions } from "./pull.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";

interface FsckFlags extends RegistryFlags {
  readonly repo?: string;
  readonly metadataOnly: boolean;
  readonly readData: boolean;
  readonly repair: boolean;
  readonly json: boolean;
}

interface Report {
  readonly repository: FsckReport;
  readonly images: ImagesReport;
}

interface Repaired {
  /** What a second check does not find any more. */
  readonly repaired: readonly Finding<string>[];
  readonly left: readonly Finding<string>[];
  readonly failures: readonly RepairFailure[];
}

/** Adds `fsck` to the `repo` command. */
export function registerFsck(repo: Command): void {
  const command = repo
    .command("fsck")
    .description("check the repository and its images; exit status 1 if something is wrong")
    .addOption(repoOption())
    .option("--metadata-only", "do not check the content of objects", false)
    .option("--read-data", "read all data, also where the kernel already has the digest", false)
    .option("--repair", "put back what is damaged or missing, from where images came from", false)
    .option("--json", "print JSON; the exit status is 0 then, whatever is found", false)
    .action(fsck);
  registryOptions(command);
  addExamples(command, "cfsboot repo fsck", "cfsboot repo fsck --repair");
}

async function fsck(flags: FsckFlags): Promise<void> {
  if (flags.metadataOnly && flags.readData) {
    throw new UsageError("--metadata-only and --read-data exclude each other");
  }
  using repository = await openRepositoryAt(flags.repo, {
    write: flags.repair,
    damagedMetadata: true,
  });
  const report = await check(repository, flags);
  const wrong = allFindings(report).length;
  const repaired = flags.repair && wrong > 0 ? await repair(repository, report, flags) : undefined;
  if (flags.json) {
    process.stdout.write(`${JSON.stringify(toJson(report, repaired), null, 2)}\n`);
    return;
  }
  process.stdout.write([...toLines(report), ...repairLines(repaired)].join(""));
  const left = repaired?.left.length ?? wrong;
  if (left === 0) return;
  const error = new Error(`${repository.path} has ${left} error(s)`);
  const hint = `cfsboot repo fsck --repair --repo ${repository.path}`;
  throw repaired === undefined ? Object.assign(error, { hint }) : error;
}

async function check(
  repository: Repository,
  { metadataOnly, readData }: FsckFlags,
  only?: DigestSet,
): Promise<Report> {
  const { checkRepository } = await import("../repository/fsck.ts");
  const { checkImages } = await import("../oci/fsck.ts");
  const progress = process.stderr.isTTY
    ? (await import("./directories-progress.ts")).directoriesProgress("checking")
    : undefined;
  try {
    const objects = only ?? (metadataOnly ? "none" : "all");
    const onProgress = progress?.update;
    return {
      repository: checkRepository(repository, { objects, readData, onProgress }),
      images: checkImages(repository),
    };
  } finally {
    progress?.stop();
  }
}

/** Repairs, and checks again what was wrong. */
async function repair(opened: Repository, report: Report, flags: FsckFlags): Promise<Repaired> {
  const { repairImages } = await import("../oci/repair.ts");
  const { deploymentSources } = await import("../deployment/image-sources.ts");
  const { linux } = await import("../linux.ts");
  const found = allFindings(report);
  if (opened.metadataState === "damaged") await mend(opened);
  using repository = await openRepositoryAt(flags.repo, { write: true });
  const failures = await repairImages(repository, found, {
    open: (reference) => openTransport(reference, flags),
    sources: deploymentSources(linux, repository.path),
    onStep: (what) => process.stderr.write(`repairing ${what}\n`),
  });
  const objects = new DigestSet(repository.hash);
  for (const { object } of found) if (object !== undefined) objects.add(object);
  const left = allFindings(await check(repository, flags, objects));
  const known = new Set(left.map(describe));
  return { repaired: found.filter((finding) => !known.has(describe(finding))), left, failures };
}

/** Writes meta.json anew. */
async function mend(repository: Repository): Promise<void> {
  const { mendMetadata } = await import("../repository/mend-metadata.ts");
  const { metadata, secure } = mendMetadata(repository);
  const format = effectiveFormats(metadata).default;
  process.stderr.write(
    `repairing meta.json: ${algorithmName(metadata.hash)}, EROFS format ${format}, ${secure ? "with" : "without"} fs-verity, as it follows from objects and images\n`,
  );
}

function allFindings({ repository, images }: Report): Finding<string>[] {
  return [...repository.findings, ...images.findings];
}

/** `fsck: <kind>: <where>: <what>`; the kind is a stable name. */
function describe({ kind, where, what, cause }: Finding<string>): string {
  const why = cause === undefined ? [] : [describeError(cause).message];
  return ["fsck", kind, where, ...(what === undefined ? [] : [what]), ...why].join(": ");
}

/** The lines of `cfsctl fsck`, and those of `cfsctl oci fsck`. */
function toLines({ repository, images }: Report): string[] {
  const good = ({ checked, corrupted }: { checked: number; corrupted: number }) =>
    `${checked - corrupted}/${checked} ok`;
  const { findings, brokenLinks, missingObjects } = repository;
  const lines = [
    `meta.json: ${repository.metadata ?? "absent"}`,
    `objects: ${good(repository.objects)}`,
    `streams: ${good(repository.streams)}`,
    `images: ${good(repository.images)}`,
  ];
  if (brokenLinks > 0) lines.push(`broken symlinks: ${brokenLinks}`);
  if (missingObjects > 0) lines.push(`missing objects: ${missingObjects}`);
  lines.push(findings.length === 0 ? "status: ok" : `status: ${findings.length} error(s)`);
  lines.push(...list(findings.map(describe)));
  lines.push(`oci images: ${good(images)}`);
  if (images.findings.length > 0) lines.push(`oci errors: ${images.findings.length}`);
  lines.push(...list(images.findings.map(describe)));
  return lines.map((line) => `${line}\n`);
}

function repairLines(repaired: Repaired | undefined): string[] {
  if (repaired === undefined) return [];
  const { left, failures } = repaired;
  const lines = [
    `repaired: ${repaired.repaired.length} error(s)`,
    `not repaired: ${left.length} error(s)`,
    ...list(left.map(describe)),
    ...list(failures.map(describeFailure)),
  ];
  return lines.map((line) => `${line}\n`);
}

function describeFailure({ image, cause }: RepairFailure): string {
  return `image ${image}: ${describeError(cause).message}`;
}

function list(entries: readonly string[]): string[] {
  return entries.map((entry) => `  - ${entry}`);
}

/** The fields of `cfsctl fsck --json`; what is known of images is below `oci`. */
function toJson({ repository, images }: Report, repaired: Repaired | undefined): object {
  return {
    ok: repository.findings.length + images.findings.length === 0,
    has_metadata: repository.metadata !== undefined,
    objects_checked: repository.objects.checked,
    objects_corrupted: repository.objects.corrupted,
    streams_checked: repository.streams.checked,
    streams_corrupted: repository.streams.corrupted,
    images_checked: repository.images.checked,
    images_corrupted: repository.images.corrupted,
    broken_links: repository.brokenLinks,
    missing_objects: repository.missingObjects,
    errors: repository.findings.map(describe),
    oci: {
      images_checked: images.checked,
      images_corrupted: images.corrupted,
      errors: images.findings.map(describe),
    },
    ...(repaired && {
      repair: {
        repaired: repaired.repaired.map(describe),
        left: repaired.left.map(describe),
        failures: repaired.failures.map(describeFailure),
      },
    }),
  };
}
