/** `cfsboot repo add`, `import` and `images`: filesystem images that are no container image's. */
import { type Command, Option } from "commander";
import { toHex } from "../../src/formats/digest.ts";
import type { XattrMode } from "../../src/model/transform.ts";
import type { AddedImage } from "../repository/add-image.ts";
import type { Repository } from "../repository/repository.ts";
import { addExamples } from "./example.ts";
import { inputName, readInput } from "./files.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";
import { table } from "./table.ts";

interface Flags {
  readonly repo?: string;
}

interface AddFlags extends Flags {
  readonly bootable: boolean;
  readonly propagateUsrToRoot: boolean;
  readonly xattrs: XattrMode;
}

/** So much of a digest is shown in a table, as `cfsctl` has it. */
const SHOWN = 12;

/** Adds the commands to the `repo` command. */
export function registerImages(repo: Command): void {
  addExamples(
    repo
      .command("add")
      .description("store the files of a directory, and make a filesystem image of its tree")
      .argument("<directory>", "the root of the tree")
      .argument("[name]", "reference to set, as refs/<name> below images/")
      .addOption(repoOption())
      .option("--bootable", "make it what a machine boots", false)
      .option(
        "--no-propagate-usr-to-root",
        "take everything as it is; else it becomes what the same tree in a container image would be",
      )
      .addOption(
        new Option("--xattrs <mode>", "extended attributes to keep")
          .choices(["allowlist-only", "keep-user-xattrs"] satisfies XattrMode[])
          .default("allowlist-only"),
      )
      .action(add),
    "cfsboot repo add rootfs trees/mine",
    "cfsboot repo add --bootable / root",
  );
  addExamples(
    repo
      .command("import")
      .description("store a filesystem image whose objects the repository has")
      .argument("<image>", 'image to read, "-" for standard input')
      .argument("[name]", "reference to set, as refs/<name> below images/")
      .addOption(repoOption())
      .action(importFile),
    "cfsboot repo import root.cfs trees/mine",
  );
  addExamples(
    repo
      .command("images")
      .description("list the filesystem images that have a reference")
      .addOption(repoOption())
      .option("--json", "print JSON", false)
      .action(images),
    "cfsboot repo images",
  );
}

async function add(directory: string, name: string | undefined, flags: AddFlags): Promise<void> {
  const { addDirectory } = await import("../repository/add-image.ts");
  using repository = await openRepositoryAt(flags.repo, { write: true });
  let added: AddedImage;
  try {
    added = addDirectory(repository, directory, {
      bootable: flags.bootable,
      asContainer: flags.propagateUsrToRoot,
      xattrs: flags.xattrs,
      ...(name !== undefined && { name }),
    });
  } catch (error) {
    throw new Error(`add ${directory}`, { cause: error });
  }
  const { existing, reflinked, copied } = added.objects;
  process.stderr.write(
    `objects  ${reflinked + copied} new (${reflinked} of them share blocks) + ${existing} already present\n`,
  );
  printDigest(repository, added.images[0]!.digest);
}

async function importFile(path: string, name: string | undefined, flags: Flags): Promise<void> {
  const { importImage } = await import("../repository/add-image.ts");
  using repository = await openRepositoryAt(flags.repo, { write: true });
  try {
    printDigest(repository, importImage(repository, await readInput(path), name));
  } catch (error) {
    throw new Error(`import ${inputName(path)}`, { cause: error });
  }
}

/** As `cfsctl` does. */
function printDigest(repository: Repository, digest: Uint8Array): void {
  process.stdout.write(`${repository.hash}:${toHex(digest)}\n`);
}

async function images({ repo, json }: Flags & { readonly json: boolean }): Promise<void> {
  using repository = await openRepositoryAt(repo);
  const found = repository.listRefs("images").map(({ name, target }) => ({ name, digest: target }));
  if (json) {
    process.stdout.write(`${JSON.stringify({ images: found }, null, 2)}\n`);
  } else if (found.length === 0) {
    process.stdout.write("No images found\n");
  } else {
    const rows = found.map(({ name, digest }) => [name, digest.slice(0, SHOWN)]);
    process.stdout.write(table([["NAME", "DIGEST"], ...rows]));
  }
}
