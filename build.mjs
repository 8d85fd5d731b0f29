#!/usr/bin/env node
/**
 * Builds everything: `node build.mjs [OUTPUT…]`, where an output is one of the names in dist/. What is up to date is
 * left alone. Environment: QUICKJS=ng, QUICKJS_SRC=<directory or tarball>, CC, MUSL_CC, DEBIAN_MIRROR.
 */
import { chmodSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import * as esbuild from "esbuild";
import {
  cachedFile,
  describeCompiler,
  keyOf,
  ROOT,
  run,
  sha256,
  sha256File,
} from "./scripts/build/cached.mjs";
import { buildManual } from "./scripts/build/man.mjs";
import { buildExecutable } from "./scripts/build/quickjs.mjs";
import { requestedEngine } from "./scripts/build/quickjs-source.mjs";

const CC = process.env.CC || "cc";

/** Packages that are CommonJS reach Node's own modules by `require`. */
const BANNER = `#!/usr/bin/env node
import { createRequire as createRequireOfBundle } from "node:module";
const require = createRequireOfBundle(import.meta.url);`;

/**
 * Loads Node's own modules when the module that imports them is loaded. What is left as an import is loaded before
 * anything runs, and with names for all that it exports: for `node:http` alone, that is a quarter of the start.
 */
const BUILTINS_WHEN_NEEDED = {
  name: "builtins-when-needed",
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ kind, path, namespace }) =>
      kind === "import-statement" && namespace === "file" ? { path, namespace: "builtin" } : null,
    );
    build.onLoad({ filter: /./, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/** Large packages that few commands need. */
const SELDOM_NEEDED = /^(undici|yaml)$/;

/**
 * Keeps packages as text until they are imported, and compiles them then as Node does with modules. As code of the bundle
 * they would be read through at every start, which takes as long as the command's own work.
 */
const PACKAGES_WHEN_NEEDED = {
  name: "packages-when-needed",
  setup(build) {
    build.onResolve({ filter: SELDOM_NEEDED }, ({ path, importer }) =>
      importer.includes("node_modules") ? null : { path, namespace: "text" },
    );
    build.onLoad({ filter: /./, namespace: "text" }, async ({ path }) => {
      const result = await esbuild.build({
        absWorkingDir: ROOT,
        stdin: { contents: `module.exports = require("${path}");`, resolveDir: ROOT },
        bundle: true,
        write: false,
        format: "cjs",
        platform: "node",
        target: "node20",
        logLevel: "silent",
      });
      const text = JSON.stringify(result.outputFiles[0].text);
      const compile = `require("node:vm").compileFunction(${text}, ["require", "module"], { filename: "${path}" })`;
      return { contents: `${compile}(require, module);` };
    });
  },
};

async function buildCommand(output) {
  const result = await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: ["userspace/cli/main.ts"],
    outfile: output,
    write: false,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    banner: { js: BANNER },
    plugins: [BUILTINS_WHEN_NEEDED, PACKAGES_WHEN_NEEDED],
    logLevel: "silent",
  });
  const { text } = result.outputFiles[0];
  return cachedFile(output, sha256(text), (made) => {
    writeFileSync(made, text);
    chmodSync(made, 0o755);
  });
}

async function buildAddon(output) {
  const packageJson = createRequire(import.meta.url).resolve("node-api-headers/package.json");
  const headers = join(dirname(packageJson), "include");
  const sources = ["native/linux.c", "native/napi.c", "native/verity.c"];
  const headerFiles = ["linux", "verity", "verity-lanes", "verity-x86", "verity-arm"];
  const flags = [
    "-std=gnu11",
    "-O2",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
    "-Wl,--build-id=none",
  ];
  const key = keyOf({
    values: [await describeCompiler(CC), ...flags, sha256File(packageJson)],
    files: [...sources, ...headerFiles.map((name) => `native/${name}.h`)].map((file) =>
      join(ROOT, file),
    ),
  });
  return cachedFile(output, key, async (made) => {
    await run(CC, [...flags, "-isystem", headers, ...sources, "-o", made]);
    await run("strip", ["--strip-unneeded", "--remove-section=.comment", made]);
  });
}

const OUTPUTS = {
  "cfsboot.mjs": buildCommand,
  "linux.node": buildAddon,
  "composefs-setup-root": (output) =>
    buildExecutable({ entry: "initrd/main.ts", output, engine: requestedEngine() }),
  man: (output) => buildManual(output, { banner: { js: BANNER } }),
};

/** In bytes; of a directory, that of the files in it. */
function sizeOf(path) {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0);
}

async function main(names) {
  const wrong = names.find((name) => !Object.hasOwn(OUTPUTS, name));
  if (wrong !== undefined) {
    throw new Error(`${wrong}: expected one of ${Object.keys(OUTPUTS).join(", ")}`);
  }
  for (const name of names.length > 0 ? names : Object.keys(OUTPUTS)) {
    const output = join(ROOT, "dist", name);
    const made = await OUTPUTS[name](output).catch((cause) => {
      throw new Error(`dist/${name}`, { cause });
    });
    const size = sizeOf(output).toLocaleString("en");
    console.log(`dist/${name}: ${made ? "built" : "up to date"}, ${size} bytes`);
  }
}

/** The messages of an error and its causes, and the hint that one of them has. */
function printError(error) {
  const chain = [];
  for (let at = error; at instanceof Error; at = at.cause) chain.push(at);
  console.error(`build: error: ${chain.map((at) => at.message).join(": ")}`);
  const hint = chain.find((at) => at.hint !== undefined)?.hint;
  if (hint !== undefined) console.error(`hint: ${hint}`);
}

await main(process.argv.slice(2)).catch((error) => {
  printError(error);
  process.exitCode = 1;
});
