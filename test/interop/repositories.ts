/** What of two repositories has to be the same: all but what a compressor chose, and what hangs on that. */
import * as fs from "node:fs";
import { join } from "node:path";

/** Names in `images` and `streams` with what they link to; of streams' own objects only that they are objects. */
export function linksOf(repository: string): string[] {
  return ["images", "streams"]
    .flatMap((kind) =>
      symlinks(join(repository, kind)).map(([name, to]) => `${kind}/${name} ${to}`),
    )
    .map((line) => line.replace(/^(streams\/.* )\.\.\/objects\/.*/, "$1object"))
    .sort();
}

/** All objects but those of streams. */
export function objectsOf(repository: string): string[] {
  const streams = new Set(
    symlinks(join(repository, "streams")).map(([, target]) => target.replace(/.*objects\//, "")),
  );
  return fs
    .readdirSync(join(repository, "objects"))
    .flatMap((first) =>
      fs.readdirSync(join(repository, "objects", first)).map((rest) => `${first}/${rest}`),
    )
    .filter((name) => !streams.has(name))
    .sort();
}

function symlinks(directory: string): [name: string, target: string][] {
  if (!fs.existsSync(directory)) return [];
  return fs
    .readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => fs.lstatSync(join(directory, name)).isSymbolicLink())
    .map((name) => [name, fs.readlinkSync(join(directory, name))]);
}
