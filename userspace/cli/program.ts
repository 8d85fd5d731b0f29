/** The commands of `cfsboot`. Every noun is a module of this folder that registers its verbs. */
import { Command } from "commander";
import packageJson from "../../package.json" with { type: "json" };
import { takeBootcOptions } from "./bootc-options.ts";

interface Noun {
  register(program: Command): void;
}

/** In the order of `--help`. */
const NOUNS: Readonly<Record<string, () => Promise<Noun>>> = {
  status: () => import("./status.ts"),
  upgrade: () => import("./upgrade.ts"),
  switch: () => import("./switch.ts"),
  edit: () => import("./edit.ts"),
  rollback: () => import("./rollback.ts"),
  pin: async () => ({ register: (await import("./pin.ts")).registerPin }),
  unpin: async () => ({ register: (await import("./pin.ts")).registerUnpin }),
  delete: () => import("./delete.ts"),
  gc: () => import("./collect.ts"),
  karg: () => import("./karg.ts"),
  diff: () => import("./diff.ts"),
  "usr-overlay": () => import("./usr-overlay.ts"),
  "finalize-staged": () => import("./finalize-staged.ts"),
  "boot-complete": () => import("./boot-complete.ts"),
  install: () => import("./install.ts"),
  repo: () => import("./repo.ts"),
  image: () => import("./image.ts"),
  container: () => import("./container.ts"),
  mount: () => import("./mount.ts"),
  etc: () => import("./etc.ts"),
  erofs: () => import("./erofs.ts"),
  fsverity: () => import("./fsverity.ts"),
};

/** The program with the noun that `argv` asks for; with all of them if it asks for help, or for one that there is not. */
export async function loadProgram(argv: readonly string[]): Promise<Command> {
  const program = createProgram();
  if (argv[0] === "--version") return program;
  // the noun is the first argument that is not an option: options before it have no values
  const noun = argv.find((argument) => !argument.startsWith("-"));
  const asked =
    noun === undefined ? undefined : Object.hasOwn(NOUNS, noun) ? NOUNS[noun] : undefined;
  for (const load of asked === undefined ? Object.values(NOUNS) : [asked]) {
    (await load()).register(program);
  }
  takeBootcOptions(program);
  return program;
}

function createProgram(): Command {
  return new Command("cfsboot")
    .description("Boots Linux from a container image with every byte verified by the kernel.")
    .version(`cfsboot ${packageJson.version}`, "--version", "print the version")
    .option("--verbose", "show where errors come from")
    .helpOption("-h, --help", "show this help")
    .helpCommand("help [command]", "show help of a command")
    .exitOverride()
    .showHelpAfterError("hint: --help shows the usage")
    .configureOutput({ outputError: (text, write) => write(`cfsboot: ${text}`) })
    .configureHelp({ showGlobalOptions: true });
}
