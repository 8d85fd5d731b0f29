/** `cfsboot container`: what makes the unified kernel image of an image that is being built. */
import { type Command, Option } from "commander";
import type { HashName } from "../../src/formats/digest.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { addExamples } from "./example.ts";
import { printLines, writeOutput } from "./files.ts";

interface DigestFlags {
  readonly writeDumpfileTo?: string;
  readonly hash: HashName;
  readonly erofsVersion?: "v1" | "v2";
}

interface UkifyFlags extends DigestFlags {
  readonly rootfs: string;
  readonly karg: readonly string[];
  readonly allowMissingVerity: boolean;
  readonly kernelDir?: string;
  readonly printCmdline: boolean;
}

interface SplitFlags {
  readonly rootfs: string;
  readonly output: string;
}

const ROOTFS = ["--rootfs <directory>", "the image's root file system", "/"] as const;

/** Adds the commands to `container`. */
export function registerUki(container: Command): void {
  const collect = (karg: string, kargs: readonly string[]) => [...kargs, karg];
  addExamples(
    digestOptions(
      container
        .command("ukify")
        .description("build a unified kernel image that boots this image and no other")
        .argument("[args...]", "arguments for ukify(1), after --")
        .option(...ROOTFS)
        .option("--karg <argument>", "another kernel argument (may be given again)", collect, [])
        .option("--allow-missing-verity", "it boots without fs-verity, too", false)
        .option(
          "--kernel-dir <directory>",
          "where vmlinuz and initramfs.img are (default: in the root file system); its name is the kernel's release",
        )
        .option("--print-cmdline", "print the kernel command line, and build nothing", false),
      "image format of the digest (default: v1, and v2 for those who do not know v1)",
    ).action(ukify),
    "cfsboot container ukify --rootfs /target --kernel-dir /kernel/6.12 -- --output 6.12.efi",
  );
  addExamples(
    container
      .command("split-kernel-and-rootfs")
      .description("move the kernel and its initramfs out of an image")
      .option(...ROOTFS)
      .requiredOption("--output <directory>", "move them to a directory in it, named by release")
      .action(split),
    "cfsboot container split-kernel-and-rootfs --output /kernel",
  );
  addExamples(
    digestOptions(
      container
        .command("compute-composefs-digest")
        .description("compute the digest with which a machine boots this image")
        .argument("[path]", "the image's root file system", "/target"),
      "image format (default: v1)",
    ).action(computeDigest),
    "cfsboot container compute-composefs-digest /target",
  );
}

function digestOptions(command: Command, version: string): Command {
  return command
    .addOption(new Option("--erofs-version <version>", version).choices(["v1", "v2"]))
    .addOption(
      new Option("--hash <name>", "hash of the repository on the machine")
        .choices(["sha256", "sha512"])
        .default("sha512"),
    )
    .option("--write-dumpfile-to <file>", "write what the digest is of as a dump file");
}

async function ukify(args: readonly string[], flags: UkifyFlags): Promise<void> {
  const { kernelFiles, requireUkify, runUkify, sealedCmdline, ukifyArguments } = await import(
    "../container/ukify.ts"
  );
  const { currentPlatform } = await import("../oci/platform.ts");
  const { linux } = await import("../linux.ts");
  using rootfs = await openRootfs(flags.rootfs);
  const seal = async () => {
    const { cmdline, tree } = sealedCmdline(linux, rootfs, {
      architecture: currentPlatform().architecture,
      kargs: flags.karg,
      hash: flags.hash,
      format: formatOf(flags),
      insecure: flags.allowMissingVerity,
    });
    await writeDumpfile(tree, flags);
    return cmdline;
  };
  if (flags.printCmdline) return printLines([`${await seal()}\n`]);
  requireUkify();
  const kernel = kernelFiles(rootfs, flags.kernelDir);
  runUkify(ukifyArguments(rootfs, kernel, await seal(), args));
}

async function split({ rootfs: path, output }: SplitFlags): Promise<void> {
  const { splitKernel } = await import("../container/split-kernel.ts");
  using rootfs = await openRootfs(path);
  const { directory } = splitKernel(rootfs, output);
  printLines([`${directory}\n`]);
}

async function computeDigest(path: string, flags: DigestFlags): Promise<void> {
  const { bootDigest, readBootTree } = await import("../container/boot-digest.ts");
  const { linux } = await import("../linux.ts");
  using rootfs = await openRootfs(path);
  const tree = readBootTree(linux, rootfs, flags.hash);
  await writeDumpfile(tree, flags);
  printLines([`${bootDigest(tree, flags.hash, formatOf(flags) ?? 1)}\n`]);
}

function formatOf({ erofsVersion }: DigestFlags): 1 | 2 | undefined {
  return erofsVersion && (erofsVersion === "v1" ? 1 : 2);
}

async function writeDumpfile(tree: Tree, { writeDumpfileTo }: DigestFlags): Promise<void> {
  if (writeDumpfileTo === undefined) return;
  const { formatDumpfile } = await import("../../src/formats/dumpfile-writer.ts");
  writeOutput(writeDumpfileTo, Buffer.from(formatDumpfile(tree), "latin1"));
}

/** The root file system in a directory; errors name it. */
export async function openRootfs(path: string) {
  const { Rootfs } = await import("../container/rootfs.ts");
  const { linux } = await import("../linux.ts");
  try {
    return new Rootfs(linux, path);
  } catch (error) {
    throw new Error(path, { cause: error });
  }
}
