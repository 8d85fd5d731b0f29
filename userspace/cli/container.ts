/** `cfsboot container`: looks at an image from within its build, and takes part in it. */
import { type Command, Option } from "commander";
import type { LintFinding } from "../container/lint.ts";
import { openRootfs, registerUki } from "./container-uki.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { printLines } from "./files.ts";
import { table } from "./table.ts";

interface LintFlags {
  readonly rootfs: string;
  readonly fatalWarnings: boolean;
  readonly list: boolean;
  readonly skip: readonly string[];
  readonly truncate: boolean;
  readonly json: boolean;
}

const FORMATS = ["humanreadable", "yaml", "json"] as const;

interface InspectFlags {
  readonly rootfs: string;
  readonly json: boolean;
  readonly format?: (typeof FORMATS)[number];
}

/** So much is said by one check, if not all is wanted. */
const MAX_SHOWN = 5;

export function register(program: Command): void {
  const container = program
    .command("container")
    .description("check an image while it is built, and make what boots it");
  const collect = (name: string, names: readonly string[]) => [...names, name];
  addExamples(
    container
      .command("lint")
      .description("check whether an image will come up; exit status 1 if not")
      .option("--rootfs <directory>", "the image's root file system", "/")
      .option("--fatal-warnings", "warnings are errors", false)
      .option("--skip <name>", "leave a check out (may be given again)", collect, [])
      .option("--list", "list the checks", false)
      .option("--no-truncate", "show all that is found")
      .option("--json", "print JSON, all that is found", false)
      .action(lintRootfs),
    "cfsboot container lint",
    "cfsboot container lint --rootfs /mnt --skip nonempty-boot",
  );
  addExamples(
    container
      .command("inspect")
      .description("print an image's kernel and its kernel arguments")
      .option("--rootfs <directory>", "the image's root file system", "/")
      .addOption(new Option("--json", "print JSON").default(false).conflicts("format"))
      .addOption(
        new Option("--format <format>", "how to print it (default: humanreadable)").choices(
          FORMATS,
        ),
      )
      .action(inspect),
    "cfsboot container inspect --json",
  );
  registerUki(container);
}

async function lintRootfs(flags: LintFlags): Promise<void> {
  const { lint, listLints } = await import("../container/lint.ts");
  const lints = listLints();
  if (flags.list && flags.json) {
    const list = lints.map(({ name, level, what }) => ({ name, level, what }));
    return printLines([`${JSON.stringify(list, null, 2)}\n`]);
  }
  if (flags.list) {
    const rows = lints.map(({ name, level, what }) => [name, level, what]);
    return printLines([table([["NAME", "LEVEL", "ASKS THAT"], ...rows])]);
  }
  const unknown = flags.skip.find((name) => lints.every((one) => one.name !== name));
  if (unknown !== undefined) {
    throw new UsageError(`there is no check ${JSON.stringify(unknown)}; --list shows them`);
  }
  const { currentPlatform } = await import("../oci/platform.ts");
  using rootfs = await openRootfs(flags.rootfs);
  const skip = new Set(flags.skip);
  const found = lint(rootfs, currentPlatform().architecture, skip);
  const checks = lints.length - skip.size;
  const errors = found.filter(({ level }) => level === "error").length;
  const warnings = found.length - errors;
  printLines(
    flags.json
      ? [`${JSON.stringify({ version: 1, checks, errors, warnings, found }, null, 2)}\n`]
      : [
          ...lines(found, flags.truncate),
          `${checks} checks: ${errors} errors, ${warnings} warnings\n`,
        ],
  );
  if (errors > 0) throw new Error(`${flags.rootfs} will not do: ${errors} errors`);
  if (warnings > 0 && flags.fatalWarnings) {
    throw new Error(`${flags.rootfs} will not do: ${warnings} warnings`);
  }
}

function lines(found: readonly LintFinding[], truncate: boolean): string[] {
  const shown = new Map<string, number>();
  const out: string[] = [];
  for (const { lint, level, message } of found) {
    const count = (shown.get(lint) ?? 0) + 1;
    shown.set(lint, count);
    if (!truncate || count <= MAX_SHOWN) out.push(`${level}: ${lint}: ${message}\n`);
  }
  for (const [lint, count] of shown) {
    if (truncate && count > MAX_SHOWN) out.push(`${lint}: and ${count - MAX_SHOWN} more\n`);
  }
  return out;
}

async function inspect(flags: InspectFlags): Promise<void> {
  const { bootedKernel, bootedKargs } = await import("../container/kernels.ts");
  const { currentPlatform } = await import("../oci/platform.ts");
  using rootfs = await openRootfs(flags.rootfs);
  const kargs = bootedKargs(rootfs, currentPlatform().architecture);
  const kernel = bootedKernel(rootfs);
  const document = { kargs, kernel: kernel ?? null };
  if (flags.json || flags.format === "json") {
    return printLines([`${JSON.stringify(document, null, 2)}\n`]);
  }
  if (flags.format === "yaml") {
    const { stringify } = await import("yaml");
    return printLines([stringify(document, { indentSeq: false, lineWidth: 0 })]);
  }
  const version = kernel === undefined ? "none" : kernel.version;
  printLines([
    `Kernel: ${version}${kernel?.unified ? " (unified kernel image)" : ""}\n`,
    `Kernel arguments: ${kargs.join(" ") || "none"}\n`,
  ]);
}
