/** `composefs-info`: the program of the C project (1.0). */
import { closeSync, openSync, readFileSync } from "node:fs";
import { type ByteString, fromText } from "../../src/formats/bytestring.ts";
import { toHex } from "../../src/formats/digest.ts";
import { backingPaths, dumpLinesC, type Filter, listLines } from "../../src/formats/erofs/index.ts";
import { UsageError } from "./errors.ts";
import { printLines, within } from "./files.ts";
import { missingPaths } from "./missing-objects.ts";
import { parseToolArgs, type Tool } from "./tool.ts";

const USAGE = `usage: composefs-info [--basedir=path] [--filter=name] [ls|objects|dump|missing-objects|measure-file] IMAGES...
`;

const OPTIONS = {
  basedir: { type: "string" },
  filter: { type: "string", multiple: true },
} as const;

interface Request {
  readonly paths: readonly string[];
  readonly filter: Filter;
  readonly basedir: string | undefined;
}

const COMMANDS: Readonly<Record<string, (request: Request) => Promise<void>>> = {
  ls: (request) => print(request, listLines),
  dump: (request) => print(request, dumpLinesC),
  objects: async (request) => printPaths(await pathsOf(request)),
  "missing-objects": async (request) => {
    printPaths(await missingPaths(await pathsOf(request), request.basedir));
  },
  "measure-file": ({ paths }) => measure(paths),
};

export const tool: Tool = { name: "composefs-info", usage: USAGE, run };

async function run(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseToolArgs(args, OPTIONS);
  const [name, ...paths] = positionals;
  if (name === undefined) throw new UsageError("no command specified");
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw new UsageError(`unknown command '${name}'`);
  if (paths.length === 0) throw new UsageError("no image path specified");
  const filter = values.filter ?? [];
  const wrong = filter.find((entry) => entry.includes("/"));
  if (wrong !== undefined) throw new UsageError(`the filter must be a single name: ${wrong}`);
  await command({ paths, filter: filter.map((entry) => fromText(entry)), basedir: values.basedir });
}

async function print(
  { paths, filter }: Request,
  lines: (image: Uint8Array, filter: Filter) => Iterable<string>,
): Promise<void> {
  for (const path of paths) {
    await within(path, () => printLines(lines(readFileSync(path), filter)));
  }
}

/** Of all images, sorted, each once. */
async function pathsOf({ paths, filter }: Request): Promise<ByteString[]> {
  const all = new Set<ByteString>();
  for (const path of paths) {
    const image = readFileSync(path);
    for (const object of await within(path, () => backingPaths(image, filter))) all.add(object);
  }
  return [...all].sort();
}

function printPaths(paths: readonly ByteString[]): void {
  process.stdout.write(Buffer.from(paths.map((path) => `${path}\n`).join(""), "latin1"));
}

/** The kernel's digest of each file where it has one, else the computed one. */
async function measure(paths: readonly string[]): Promise<void> {
  const { linux } = await import("../linux.ts");
  const { digestFile } = await import("../hash.ts");
  const { measureVerity } = await import("../../src/linux/verity.ts");
  for (const path of paths) {
    const fd = openSync(path, "r");
    try {
      const digest = await within(path, () => {
        const measured = measureVerity(linux, fd, "sha256");
        return measured.state === "verity" ? measured.digest : digestFile("sha256", fd);
      });
      process.stdout.write(`${toHex(digest)}\n`);
    } finally {
      closeSync(fd);
    }
  }
}
