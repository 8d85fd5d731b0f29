/** `cfsboot fsverity`: fs-verity digests of files, computed here: no kernel or file system needs to know fs-verity. */
import { closeSync, openSync } from "node:fs";
import { type Command, Option } from "commander";
import { type HashName, toHex } from "../../src/formats/digest.ts";
import { digestFile, newVerityDigester } from "../hash.ts";
import { addExamples } from "./example.ts";
import { inputName } from "./files.ts";

export function register(program: Command): void {
  const fsverity = program.command("fsverity").description("fs-verity digests of files");

  const digest = fsverity
    .command("digest")
    .description("print the fs-verity digest of each file, one per line")
    .argument("<file...>", 'files to read, "-" for standard input')
    .addOption(
      new Option("--hash <name>", "hash of the digest")
        .choices(["sha256", "sha512"])
        .default("sha256"),
    )
    .action(async (files: string[], { hash }: { hash: HashName }) => {
      for (const file of files) {
        try {
          process.stdout.write(`${toHex(await digestInput(hash, file))}\n`);
        } catch (error) {
          throw new Error(inputName(file), { cause: error });
        }
      }
    });
  addExamples(digest, "cfsboot fsverity digest --hash sha512 vmlinuz initrd.img");
}

async function digestInput(hash: HashName, file: string): Promise<Uint8Array> {
  if (file === "-") {
    const digester = newVerityDigester(hash);
    for await (const chunk of process.stdin) digester.update(chunk);
    return digester.digest();
  }
  const fd = openSync(file, "r");
  try {
    return digestFile(hash, fd);
  } finally {
    closeSync(fd);
  }
}
