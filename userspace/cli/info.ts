/** `cfsboot repo info` */
import type { Command } from "commander";
import { algorithmName } from "../../src/formats/meta-json.ts";
import { decodeTag, TAG_DIRECTORY } from "../../src/formats/oci-tag.ts";
import { megabytes } from "../../src/model/size-text.ts";
import type { Amount, RepositoryInfo, RootInfo, UnreadableRoot } from "../repository/info.ts";
import { describeError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";
import { table } from "./table.ts";

interface InfoFlags {
  readonly repo?: string;
  readonly json: boolean;
}

/** Adds `info` to the `repo` command. */
export function registerInfo(repo: Command): void {
  const command = repo
    .command("info")
    .description("tell what the repository is, what is in it, and what each name takes")
    .addOption(repoOption())
    .option("--json", "print JSON", false)
    .action(info);
  addExamples(command, "cfsboot repo info");
}

async function info(flags: InfoFlags): Promise<void> {
  const { repositoryInfo } = await import("../repository/info.ts");
  using repository = await openRepositoryAt(flags.repo);
  const found = repositoryInfo(repository);
  process.stdout.write(
    flags.json ? `${JSON.stringify(toJson(found), null, 2)}\n` : toText(repository.path, found),
  );
  if (found.unreadable.length === 0) return;
  for (const root of found.unreadable) process.stderr.write(`warning: ${describe(root)}\n`);
  process.stderr.write(`hint: cfsboot repo fsck --repair --repo ${repository.path}\n`);
}

function describe(root: UnreadableRoot): string {
  return `what ${namesOf(root).join(", ")} needs is not known: ${describeError(root.cause).message}`;
}

function toText(path: string, found: RepositoryInfo): string {
  const { all, garbage, roots } = found;
  const amount = ({ objects, apparent, allocated }: Amount) =>
    `${objects} (${megabytes(apparent)}, ${megabytes(allocated)} on disk)`;
  const lines = [
    `Composefs repository at ${path}`,
    `  algorithm: ${algorithmName(found.hash)}`,
    `  verity:    ${found.secure ? "required" : "not required (insecure)"}`,
    `  formats:   EROFS ${found.formats.join(", ")}`,
    `  streams:   ${found.streams}`,
    `  images:    ${found.images}`,
    `  objects:   ${amount(all)}`,
    `  garbage:   ${garbage === undefined ? "not known" : amount(garbage)}`,
  ];
  if (roots.length === 0) return `${lines.join("\n")}\n`;
  const rows = roots.map((root) => [
    namesOf(root).join(", "),
    String(root.all.objects),
    megabytes(root.all.apparent),
    megabytes(root.own.apparent),
    megabytes(root.all.apparent - root.own.apparent),
  ]);
  return `${lines.join("\n")}\n\n${table([["NAME", "OBJECTS", "SIZE", "ADDS", "SHARES"], ...rows])}`;
}

/** Tags as they were given; other references as they are. */
function namesOf({ kind, refs }: Pick<RootInfo, "kind" | "refs">): string[] {
  const start = `${TAG_DIRECTORY}/`;
  return refs.map((ref) => {
    if (kind === "streams" && ref.startsWith(start)) return decodeTag(ref.slice(start.length));
    return `${kind}/refs/${ref}`;
  });
}

function toJson(found: RepositoryInfo): object {
  return {
    algorithm: algorithmName(found.hash),
    formats: found.formats,
    secure: found.secure,
    streams: found.streams,
    images: found.images,
    objects: found.all,
    garbage: found.garbage ?? null,
    roots: found.roots.map((root) => ({
      names: namesOf(root),
      kind: root.kind,
      entry: root.entry,
      total: root.all,
      own: root.own,
    })),
    unreadable: found.unreadable.map((root) => ({
      names: namesOf(root),
      kind: root.kind,
      entry: root.entry,
      error: describeError(root.cause).message,
    })),
  };
}
