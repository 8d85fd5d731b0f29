/** `mkcomposefs`: the program of the C project (1.0), byte for byte. */
import { lstatSync, writeFileSync } from "node:fs";
import { toHex } from "../../src/formats/digest.ts";
import { parseDumpfileC } from "../../src/formats/dumpfile-c.ts";
import { NO_C_INPUT, writeErofs } from "../../src/formats/erofs/index.ts";
import { digestBytes } from "../hash.ts";
import { chooseFormat, parseFormat, scanSource } from "./erofs-source.ts";
import { UsageError } from "./errors.ts";
import { inputName, readInput, within, writeOutput } from "./files.ts";
import { parseToolArgs, type Tool } from "./tool.ts";

const HASH = "sha256";

const USAGE = `Usage: mkcomposefs [OPTIONS] SOURCE IMAGE
Options:
  --digest-store=PATH   Store content files in this directory
  --use-epoch           Make all mtimes zero
  --skip-devices        Don't store device nodes
  --skip-xattrs         Don't store file xattrs
  --user-xattrs         Only store user.* xattrs
  --hardlinks           Keep the hard links of a directory
  --print-digest        Print the digest of the image
  --print-digest-only   Print the digest of the image, don't write image
  --from-file           The source is a dump file, not a directory
  --min-version=N       Use this minimal format version (default=0)
  --max-version=N       Use this maximum format version (default=1)
  --threads=N           Accepted for compatibility; it changes nothing
`;

const OPTIONS = {
  "digest-store": { type: "string" },
  "use-epoch": { type: "boolean" },
  "skip-devices": { type: "boolean" },
  "skip-xattrs": { type: "boolean" },
  "user-xattrs": { type: "boolean" },
  hardlinks: { type: "boolean" },
  "print-digest": { type: "boolean" },
  "print-digest-only": { type: "boolean" },
  "from-file": { type: "boolean" },
  "min-version": { type: "string", default: "0" },
  "max-version": { type: "string", default: "1" },
  threads: { type: "string", default: "1" },
} as const;

export const tool: Tool = { name: "mkcomposefs", usage: USAGE, run };

async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseToolArgs(args, OPTIONS);
  const [source, out, ...more] = positionals;
  const digestOnly = values["print-digest-only"] === true;
  if (source === undefined) throw new UsageError("no source path specified");
  if (out === undefined && !digestOnly) throw new UsageError("no destination path specified");
  if (out !== undefined && digestOnly) {
    throw new UsageError("no destination path can be specified with --print-digest-only");
  }
  if (more.length > 0) throw new UsageError("too many arguments");
  const min = parseFormat("min-version", values["min-version"]);
  const max = parseFormat("max-version", values["max-version"]);
  if (!/^[1-9][0-9]{0,8}$/.test(values.threads)) {
    throw new UsageError(`invalid threads count ${values.threads}`);
  }
  if (out === "-" && process.stdout.isTTY) {
    throw new Error("standard output is a terminal, no image is written to it");
  }

  const image = await within(inputName(source), async () => {
    const { tree, cInput } = values["from-file"]
      ? parseDumpfileC(await readInput(source))
      : {
          tree: await scanSource(source, HASH, {
            digestStore: values["digest-store"],
            hardlinks: values.hardlinks === true,
            xattrs: values["skip-xattrs"] ? "none" : values["user-xattrs"] ? "user" : "all",
            devices: values["skip-devices"] !== true,
            epoch: values["use-epoch"] === true,
          }),
          cInput: NO_C_INPUT,
        };
    return writeErofs(tree, { format: chooseFormat(tree, min, max), cInput });
  });
  if (out !== undefined) writeImage(out, image);
  if (digestOnly || values["print-digest"]) {
    process.stdout.write(`${toHex(digestBytes(HASH, image))}\n`);
  }
}

/** Symlinks are written through: the path may be that of an open file, `/proc/self/fd/3`. */
function writeImage(path: string, image: Uint8Array): void {
  if (path === "-") process.stdout.write(image);
  else if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) writeFileSync(path, image);
  else writeOutput(path, image);
}
