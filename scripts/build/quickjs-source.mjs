/** The source of the JavaScript engine: which, from where, and that it is the one that is meant. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { downloadPackage } from "../debian-packages.mjs";
import { CACHE, cachedDirectory, run, sha256, sha256File } from "./cached.mjs";

/** Debian's tarball of upstream's release (repacked, the sources are upstream's). */
const BELLARD = {
  suite: "trixie",
  name: "quickjs",
  version: "2025.04.26-1",
  source: true,
  sha256: "ec81da5b3249ed648dbc7df4a1654988910e66a118d9b71cb63534216efcfbbe",
};
/** Debian's package of quickjs-ng's source; the suite's newest, checked by the archive's signature alone. */
const NG = { suite: "forky", name: "qjs-src" };

const PACKAGES = join(CACHE, "packages");

/** @typedef {"bellard" | "ng"} Engine */

/**
 * The engine that the environment asks for: `QUICKJS=ng`, else bellard's.
 * @returns {Engine}
 */
export function requestedEngine() {
  const value = process.env.QUICKJS || "bellard";
  if (value !== "bellard" && value !== "ng") {
    throw new Error(`QUICKJS=${value}: expected "bellard" or "ng"`);
  }
  return value;
}

/**
 * The engine's source tree: `QUICKJS_SRC` (a directory or a tarball, of the engine that the environment asks for) where
 * it is set, else Debian's package.
 * @param {Engine} engine
 * @returns {Promise<{dir: string, key: string}>} the directory with quickjs.c, and what its content is known by
 */
export async function quickjsSource(engine) {
  const override = process.env.QUICKJS_SRC;
  if (override && engine === requestedEngine()) {
    const path = resolve(override);
    if (!existsSync(path)) throw new Error(`QUICKJS_SRC=${override}: there is no such file`);
    if (!statSync(path).isDirectory()) return unpack(path, ["tar", "-xf", path, "-C"]);
    const dir = findSource(path);
    const files = readdirSync(dir)
      .filter((name) => /\.[ch]$|^VERSION$/.test(name))
      .sort();
    return { dir, key: sha256(...files.map((name) => name + sha256File(join(dir, name)))) };
  }
  if (engine === "ng") {
    const deb = cachedNg() ?? downloadPackage({ ...NG, dir: PACKAGES });
    return unpack(deb, ["dpkg-deb", "-x", deb]);
  }
  const tarball = withHint(() => downloadPackage({ ...BELLARD, dir: PACKAGES }));
  const digest = sha256File(tarball);
  if (digest !== BELLARD.sha256) {
    throw new Error(`${tarball}: expected SHA-256 ${BELLARD.sha256}, found ${digest}`);
  }
  return unpack(tarball, ["tar", "-xf", tarball, "-C"]);
}

function withHint(download) {
  try {
    return download();
  } catch (cause) {
    throw Object.assign(new Error("fetch the source of QuickJS", { cause }), {
      hint: "set QUICKJS_SRC to a directory or tarball of QuickJS 2025-04-26",
    });
  }
}

/** The source package of quickjs-ng that was fetched before. */
function cachedNg() {
  const dir = join(PACKAGES, `${NG.suite}-${NG.name}`);
  const name = existsSync(dir) ? readdirSync(dir)[0] : undefined;
  return name === undefined ? undefined : join(dir, name);
}

/** `command` plus a directory unpacks `archive` there. */
async function unpack(archive, [command, ...args]) {
  const key = sha256File(archive);
  const dir = await cachedDirectory("quickjs-source", key, async (into) => {
    await run(command, [...args, into]);
  });
  return { dir: findSource(dir), key };
}

/** The directory at or below `dir` that holds quickjs.c. */
function findSource(dir) {
  const names = readdirSync(dir, { recursive: true });
  const found = names.map(String).find((name) => /(^|\/)quickjs\.c$/.test(name));
  if (found === undefined) throw new Error(`${dir}: there is no quickjs.c in it`);
  return join(dir, found, "..");
}
