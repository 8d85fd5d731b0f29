/** `cfsboot erofs`: images of composefs as files, without a repository. */
import { type Command, Option } from "commander";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { dumpLines, parseDumpfile } from "../../src/formats/dumpfile.ts";
import { type ErofsFormat, readErofs, writeErofs } from "../../src/formats/erofs/index.ts";
import { digestBytes } from "../hash.ts";
import { addExamples } from "./example.ts";
import { inputName, printLines, readInput, writeOutput } from "./files.ts";

/** As `cfsctl` has it where there is no repository that says otherwise. */
const DEFAULT_FORMAT = "1";
const DEFAULT_HASH: HashName = "sha512";

interface BuildOptions {
  readonly format: "0" | "1" | "2";
  readonly hash?: HashName;
}

export function register(program: Command): void {
  const erofs = program.command("erofs").description("write and read EROFS images");

  const build = erofs
    .command("build")
    .description("write an image from a dump file and print its fs-verity digest")
    .argument("<dumpfile>", 'composefs-dump(5) file, "-" for standard input')
    .argument("<out>", 'image to write, "-" to print only the digest')
    .addOption(
      new Option("--format <n>", "format of the image")
        .choices(["0", "1", "2"])
        .default(DEFAULT_FORMAT),
    )
    .addOption(
      new Option(
        "--hash <name>",
        `hash of all digests (default: that of the digests in the dump file, else ${DEFAULT_HASH})`,
      ).choices(["sha256", "sha512"]),
    )
    .action(async (dumpfile: string, out: string, options: BuildOptions) => {
      const image = await within(inputName(dumpfile), async () => {
        const { tree, hash } = parseDumpfile(await readInput(dumpfile), options);
        const bytes = writeErofs(tree, { format: Number(options.format) as ErofsFormat });
        return { bytes, digest: digestBytes(hash ?? DEFAULT_HASH, bytes) };
      });
      if (out !== "-") writeOutput(out, image.bytes);
      process.stdout.write(`${toHex(image.digest)}\n`);
    });
  addExamples(build, "cfsboot erofs build --hash sha256 root.dump root.cfs");

  const dump = erofs
    .command("dump")
    .description("print an image as a dump file")
    .argument("<image>", 'image to read, "-" for standard input')
    .action(async (image: string) => {
      const tree = await within(inputName(image), async () => readErofs(await readInput(image)));
      printLines(dumpLines(tree));
    });
  addExamples(dump, "cfsboot erofs dump root.cfs");
}

/** Runs `work`; its errors name what it is about. Errors of the system name the path themselves. */
async function within<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && "syscall" in error && "path" in error) throw error;
    throw new Error(what, { cause: error });
  }
}
