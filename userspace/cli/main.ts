/**
 * The command line of `cfsboot`. Every noun is a module of this folder that registers its verbs; only the one that
 * is asked for is loaded.
 *
 * Exit status: 0 done, 1 failed, 2 wrong usage.
 */
import { Command, CommanderError } from "commander";
import packageJson from "../../package.json" with { type: "json" };
import { describeError, isInternal, UsageError } from "./errors.ts";

interface Noun {
  register(program: Command): void;
}

/** In the order of `--help`. */
const NOUNS: Readonly<Record<string, () => Promise<Noun>>> = {
  repo: () => import("./repo.ts"),
  image: () => import("./image.ts"),
  mount: () => import("./mount.ts"),
  erofs: () => import("./erofs.ts"),
  fsverity: () => import("./fsverity.ts"),
};

/** Killed by SIGPIPE, as shells say it. */
const EXIT_PIPE = 128 + 13;

function createProgram(): Command {
  const program = new Command("cfsboot")
    .description("Boots Linux from a container image with every byte verified by the kernel.")
    .version(`cfsboot ${packageJson.version}`, "--version", "print the version")
    .option("--verbose", "show where errors come from")
    .helpOption("-h, --help", "show this help")
    .helpCommand("help [command]", "show help of a command")
    .exitOverride()
    .showHelpAfterError("hint: --help shows the usage")
    .configureOutput({ outputError: (text, write) => write(`cfsboot: ${text}`) })
    .configureHelp({ showGlobalOptions: true });
  return program;
}

/** The noun is the first argument that is not an option: options before it have no values. */
async function loadNouns(program: Command, argv: readonly string[]): Promise<void> {
  const noun = argv.find((argument) => !argument.startsWith("-"));
  const asked =
    noun === undefined ? undefined : Object.hasOwn(NOUNS, noun) ? NOUNS[noun] : undefined;
  for (const load of asked === undefined ? Object.values(NOUNS) : [asked]) {
    (await load()).register(program);
  }
}

/** Runs a command line and returns the exit status. */
async function main(argv: readonly string[]): Promise<number> {
  const program = createProgram();
  try {
    await loadNouns(program, argv);
    await program.parseAsync(argv, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has printed
    return report(error);
  }
}

/** Prints an error, once, and returns the exit status that it stands for. */
function report(error: unknown): number {
  const { message, hints, stacks } = describeError(error);
  const verbose = process.argv.includes("--verbose");
  const lines = [`cfsboot: error: ${message}`];
  for (const hint of hints) lines.push(`hint: ${hint}`);
  if (verbose) lines.push(...stacks);
  else if (isInternal(error)) lines.push("hint: this is a fault in cfsboot; --verbose shows where");
  process.stderr.write(`${lines.join("\n")}\n`);
  return error instanceof UsageError ? 2 : 1;
}

function exit(status: number): void {
  // what is still in the pipes goes out first; sockets that are kept alive do not hold us
  process.stdout.write("", () => {
    if (process.stdout.errored) outputFailed(process.stdout.errored);
    process.stderr.write("", () => process.exit(status));
  });
}

function outputFailed(error: NodeJS.ErrnoException): never {
  if (error.code === "EPIPE") process.exit(EXIT_PIPE); // the reader has seen enough
  process.exit(report(new Error("write to standard output", { cause: error })));
}

process.stdout.on("error", outputFailed);
process.stderr.on("error", () => {}); // nobody is left to be told
process.on("uncaughtException", (error) => exit(report(error)));

exit(await main(process.argv.slice(2)));
