/** `cfsboot diff` */
import type { Command } from "commander";
import { megabytes } from "../../src/model/size-text.ts";
import type { TreeChange } from "../../src/model/tree-diff.ts";
import type { ImageDiff } from "../deployment/diff.ts";
import { addExamples } from "./example.ts";
import { printLines } from "./files.ts";
import { type MachineFlags, machineOptions, withMachine } from "./machine.ts";

interface Flags extends MachineFlags {
  readonly summary: boolean;
  readonly json: boolean;
}

const NAMES = "deployment (index, id, booted, staged, rollback), or tag or @sha256:… of an image";

export function register(program: Command): void {
  const command = program
    .command("diff")
    .description("tell how two deployments, or images of the repository, differ")
    .argument("[before]", `${NAMES} (default: booted)`)
    .argument("[after]", "the same (default: what is booted next)")
    .option("--summary", "do not list the files", false)
    .option("--json", "print JSON", false)
    .action(diff);
  machineOptions(command);
  addExamples(command, "cfsboot diff", "cfsboot diff rollback booted --summary");
}

async function diff(
  before: string | undefined,
  after: string | undefined,
  flags: Flags,
): Promise<void> {
  const { observe } = await import("../deployment/observe.ts");
  const { diffImages, openSide } = await import("../deployment/diff.ts");
  const { understand } = await import("../../src/model/deployments.ts");
  const { nextDeployment } = await import("../../src/model/host-status.ts");
  const { display } = await import("../../src/formats/bytestring.ts");
  await withMachine(flags, "look", async ({ host, repository }) => {
    const machine = understand(observe(host, repository).seen);
    const next = machine.staged ?? nextDeployment(machine);
    const from = openSide(repository, machine, before ?? "booted");
    const to = openSide(repository, machine, after ?? next?.id ?? "booted");
    const found = diffImages(repository, from, to);
    const path = (change: TreeChange) => display(change.path);
    for (const warning of found.warnings) process.stderr.write(`cfsboot: warning: ${warning}\n`);
    if (flags.json) {
      const files = found.files.map(({ before, after, ...change }) => ({
        ...change,
        path: path(change as TreeChange),
        before: before ?? null,
        after: after ?? null,
      }));
      const { kernels, kargs, packages = null } = found;
      const document = { version: 1, before: from.name, after: to.name, kernels, kargs, packages };
      printLines([`${JSON.stringify({ ...document, files })}\n`]);
      return;
    }
    printLines([
      `${from.name} -> ${to.name}\n`,
      ...sections(found),
      ...(flags.summary ? [] : found.files.map((change) => `${fileLine(change, path(change))}\n`)),
      `${summary(found.files)}\n`,
    ]);
  });
}

function sections({ kernels, kargs, packages }: ImageDiff): string[] {
  const kernel = (list: readonly string[]) => list.join(", ") || "none";
  const [was, is] = [kernel(kernels.before), kernel(kernels.after)];
  const lines = was === is ? [`  kernel ${is}`] : [`~ kernel ${was} -> ${is}`];
  lines.push(...kargs.deleted.map((karg) => `- karg ${karg}`));
  lines.push(...kargs.added.map((karg) => `+ karg ${karg}`));
  for (const { name, before, after } of packages ?? []) {
    const versions = [before, after]
      .filter((list) => list.length > 0)
      .map((list) => list.join(", "));
    const sign = before.length === 0 ? "+" : after.length === 0 ? "-" : "~";
    lines.push(`${sign} package ${name} ${versions.join(" -> ")}`);
  }
  return lines.map((line) => `${line}\n`);
}

const SIGNS = { added: "+", removed: "-", changed: "~" } as const;

function fileLine({ change, type, before, after, aspects }: TreeChange, path: string): string {
  const what = [
    ...(type === "file" ? [] : [type]),
    ...(before !== undefined && after !== undefined && before !== after
      ? [`${megabytes(before)} -> ${megabytes(after)}`]
      : [before ?? after].filter((size) => size !== undefined).map(megabytes)),
    ...aspects,
  ];
  return `${SIGNS[change]} ${path} (${what.join(", ")})`;
}

function summary(files: readonly TreeChange[]): string {
  const of = (change: TreeChange["change"]) => files.filter((one) => one.change === change);
  const sum = (list: readonly TreeChange[], side: "before" | "after") =>
    list.reduce((total, one) => total + (one[side] ?? 0), 0);
  const [added, removed, changed] = [of("added"), of("removed"), of("changed")];
  return (
    `${added.length} added (${megabytes(sum(added, "after"))}), ` +
    `${removed.length} removed (${megabytes(sum(removed, "before"))}), ` +
    `${changed.length} changed (${megabytes(sum(changed, "before"))} -> ${megabytes(sum(changed, "after"))})`
  );
}
