/** `cfsboot repo cat` and `transaction` */
import type { Command } from "commander";
import { addExamples } from "./example.ts";
import { openRepositoryAt, repoOption } from "./repository.ts";

interface Flags {
  readonly repo?: string;
}

/** Nothing happens then; it only keeps the process from ending. In milliseconds. */
const LONG = 2 ** 30;

/** Adds the commands to the `repo` command. */
export function registerStreams(repo: Command): void {
  addExamples(
    repo
      .command("cat")
      .description("write what a stream stands for to standard output: a layer's tar, a document")
      .argument("<stream>", "its name below streams/, or refs/… for a reference")
      .addOption(repoOption())
      .action(cat),
    "cfsboot repo cat refs/oci/debian",
  );
  addExamples(
    repo
      .command("transaction")
      .description("keep garbage from being collected, until this command is ended")
      .addOption(repoOption())
      .action(transaction),
    "cfsboot repo transaction",
  );
}

async function cat(name: string, flags: Flags): Promise<void> {
  const { streamContent } = await import("../oci/content.ts");
  const { pipeline } = await import("node:stream/promises");
  using repository = await openRepositoryAt(flags.repo);
  try {
    const refs = "refs/";
    const entry = name.startsWith(refs)
      ? (repository.readRef("streams", name.slice(refs.length)) ?? name)
      : name;
    await pipeline(streamContent(repository, repository.readStream(entry)), process.stdout, {
      end: false,
    });
  } catch (error) {
    throw new Error(`stream ${name}`, { cause: error });
  }
}

async function transaction(flags: Flags): Promise<void> {
  using repository = await openRepositoryAt(flags.repo);
  process.stdout.write(`Nothing is collected in ${repository.path} until this ends\n`);
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const forever = setInterval(() => {}, LONG);
  await new Promise<void>((resolve) => {
    for (const signal of signals) process.once(signal, () => resolve());
  });
  clearInterval(forever);
}
