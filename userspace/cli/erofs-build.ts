/** `cfsboot erofs build` */
import { statSync } from "node:fs";
import { type Command, Option } from "commander";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { parseDumpfile } from "../../src/formats/dumpfile.ts";
import { type ErofsFormat, writeErofs } from "../../src/formats/erofs/index.ts";
import type { Tree } from "../../src/model/tree.ts";
import { digestBytes } from "../hash.ts";
import { chooseFormat, parseFormat, scanSource } from "./erofs-source.ts";
import { UsageError } from "./errors.ts";
import { addExamples } from "./example.ts";
import { inputName, readInput, within, writeOutput } from "./files.ts";

/** As `cfsctl` has it where there is no repository that says otherwise. */
const DEFAULT_FORMAT: ErofsFormat = 1;
const DEFAULT_HASH: HashName = "sha512";

interface Flags {
  readonly format?: "0" | "1" | "2";
  readonly minVersion?: string;
  readonly maxVersion?: string;
  readonly hash?: HashName;
  readonly fromFile: boolean;
  readonly digestStore?: string;
  readonly hardlinks: boolean;
  readonly useEpoch: boolean;
  readonly skipDevices: boolean;
  readonly skipXattrs: boolean;
  readonly userXattrs: boolean;
  readonly printDigestOnly: boolean;
}

/** Adds `build` to the `erofs` command. */
export function registerBuild(erofs: Command): void {
  const command = erofs
    .command("build")
    .description("write an image of a directory or a dump file, and print its fs-verity digest")
    .argument("<source>", 'a directory, or a composefs-dump(5) file, "-" for standard input')
    .argument("[out]", 'image to write, "-" to print only the digest')
    .addOption(
      new Option("--format <n>", `format of the image (default: ${DEFAULT_FORMAT})`)
        .choices(["0", "1", "2"])
        .conflicts(["minVersion", "maxVersion"]),
    )
    .option("--min-version <n>", "format 0 or 1, as mkcomposefs has it (default there: 0)")
    .option("--max-version <n>", "format if the tree holds whiteouts (default there: 1)")
    .addOption(
      new Option(
        "--hash <name>",
        `hash of all digests (default: that of the digests in the dump file, else ${DEFAULT_HASH})`,
      ).choices(["sha256", "sha512"]),
    )
    .option("--from-file", "the source is a dump file", false)
    .option("--digest-store <directory>", "store the content of files here, by digest")
    .option("--hardlinks", "keep hard links; else each name becomes a file", false)
    .option("--use-epoch", "make all modification times 0", false)
    .option("--skip-devices", "leave out devices, whiteouts too", false)
    .option("--skip-xattrs", "leave out extended attributes", false)
    .option("--user-xattrs", "leave out extended attributes but user.*", false)
    .option("--print-digest", "does nothing: the digest is always printed")
    .option("--print-digest-only", "write no image", false)
    .option("--threads <n>", "does nothing: blocks are hashed several at a time anyway")
    .action(build);
  addExamples(
    command,
    "cfsboot erofs build --digest-store objects rootfs root.cfs",
    "cfsboot erofs build --hash sha256 root.dump root.cfs",
  );
}

async function build(source: string, out: string | undefined, flags: Flags): Promise<void> {
  if (out === undefined && !flags.printDigestOnly) {
    throw new UsageError('missing argument: the image to write, "-" to print only the digest');
  }
  if (out !== undefined && flags.printDigestOnly) {
    throw new UsageError("--print-digest-only and an image to write exclude each other");
  }
  const image = await within(inputName(source), async () => {
    const { tree, hash } = await read(source, flags);
    const bytes = writeErofs(tree, { format: formatOf(tree, flags) });
    return { bytes, digest: digestBytes(hash, bytes) };
  });
  if (out !== undefined && out !== "-") writeOutput(out, image.bytes);
  process.stdout.write(`${toHex(image.digest)}\n`);
}

async function read(
  source: string,
  flags: Flags,
): Promise<{ readonly tree: Tree; readonly hash: HashName }> {
  const fromFile =
    flags.fromFile ||
    source === "-" ||
    statSync(source, { throwIfNoEntry: false })?.isDirectory() !== true;
  if (fromFile) {
    const directoryOnly = (["digestStore", "useEpoch", "skipDevices", "skipXattrs"] as const).find(
      (name) => flags[name],
    );
    const wrong = directoryOnly ?? (flags.userXattrs ? "userXattrs" : undefined);
    if (wrong !== undefined) {
      const option = wrong.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      throw new UsageError(`--${option} is for directories, ${inputName(source)} is none`);
    }
    const { tree, hash } = parseDumpfile(await readInput(source), flags);
    return { tree, hash: hash ?? DEFAULT_HASH };
  }
  const hash = flags.hash ?? DEFAULT_HASH;
  const tree = await scanSource(source, hash, {
    digestStore: flags.digestStore,
    hardlinks: flags.hardlinks,
    xattrs: flags.skipXattrs ? "none" : flags.userXattrs ? "user" : "all",
    devices: !flags.skipDevices,
    epoch: flags.useEpoch,
  });
  return { tree, hash };
}

function formatOf(tree: Tree, { format, minVersion, maxVersion }: Flags): ErofsFormat {
  if (format !== undefined) return Number(format) as ErofsFormat;
  if (minVersion === undefined && maxVersion === undefined) return DEFAULT_FORMAT;
  const min = parseFormat("min-version", minVersion ?? "0");
  return chooseFormat(tree, min, parseFormat("max-version", maxVersion ?? "1"));
}
