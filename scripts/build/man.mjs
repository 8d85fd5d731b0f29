/** Builds the manual pages: bundles scripts/man with the programs that it asks, and runs it. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as esbuild from "esbuild";
import { cachedFile, ROOT, sha256, withTemporary } from "./cached.mjs";

const PROSE = join(ROOT, "docs/man");

/** Makes the directory `output` hold the pages and nothing else; returns whether anything in it was not up to date. */
export async function buildManual(output, { banner }) {
  const pages = await render(banner);
  mkdirSync(output, { recursive: true });
  let changed = false;
  for (const name of readdirSync(output)) {
    if (pages.has(name)) continue;
    rmSync(join(output, name), { recursive: true, force: true });
    changed = true;
  }
  for (const [name, text] of pages) {
    const write = (made) => writeFileSync(made, text);
    changed = (await cachedFile(join(output, name), sha256(text), write)) || changed;
  }
  return changed;
}

/** The pages by their names. */
function render(banner) {
  return withTemporary(async (dir) => {
    const bundle = join(dir, "man.mjs");
    await esbuild.build({
      absWorkingDir: ROOT,
      entryPoints: ["scripts/man/sources.ts"],
      outfile: bundle,
      bundle: true,
      format: "esm",
      platform: "node",
      target: "node20",
      banner,
      logLevel: "silent",
    });
    const { manualPages, programSources } = await import(pathToFileURL(bundle).href);
    const read = (file) => readFileSync(join(PROSE, file), "utf8");
    const files = readdirSync(PROSE)
      .filter((name) => name.endsWith(".md"))
      .sort();
    const prose = new Map(files.map((name) => [name.slice(0, -".md".length), read(name)]));
    return manualPages({ ...(await programSources()), prose, read });
  });
}
