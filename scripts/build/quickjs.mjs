/**
 * TypeScript to one static executable: esbuild bundles, qjsc compiles to bytecode, and musl's gcc links that with the
 * host (initrd/host.c), the system calls and the engine.
 */
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import * as esbuild from "esbuild";
import { cachedDirectory, cachedFile, describeCompiler, keyOf, ROOT, run } from "./cached.mjs";
import { quickjsSource } from "./quickjs-source.mjs";

/** What the executable may weigh in bytes, with Debian's QuickJS. */
export const SIZE_LIMIT = 450_000;

const MUSL_CC = process.env.MUSL_CC || "musl-gcc";

const FLAGS = [
  "-std=gnu11",
  "-Oz",
  "-fno-jump-tables",
  "-fwrapv",
  "-D_GNU_SOURCE",
  "-ffunction-sections",
  "-fdata-sections",
  "-fno-asynchronous-unwind-tables",
  "-fno-unwind-tables",
  // musl-gcc -static-pie makes a dynamic executable on some releases, without a word.
  "-fno-pie",
];
const LINK_FLAGS = [
  "-static",
  "-no-pie",
  "-Wl,--gc-sections",
  "-Wl,--build-id=none",
  // Segments need not start on pages of their own, nor be padded to a page's end.
  "-Wl,-z,noseparate-code,-z,norelro,-z,common-page-size=16",
];
const OWN_FLAGS = ["-Wall", "-Wextra"];

const ENGINES = {
  bellard: {
    sources: ["quickjs", "dtoa", "libregexp", "libunicode", "cutils"],
    flags: [],
    qjscFlags: ['-DCONFIG_CC="cc"', '-DCONFIG_PREFIX="/usr"'],
    /** To a C file, without JavaScript source and with positions. */
    qjscOptions: ["-c"],
  },
  ng: {
    sources: ["quickjs", "dtoa", "libregexp", "libunicode"],
    flags: ["-DQUICKJS_NG_BUILD", "-funsigned-char"],
    qjscFlags: [],
    qjscOptions: ["-s"],
  },
};

/** initrd/left-out.c takes the places of these functions. */
const WEAK_SYMBOLS = ["unicode_general_category", "unicode_prop", "unicode_script"];

const C_SOURCES = [
  "initrd/host.c",
  "initrd/left-out.c",
  "initrd/engine/snprintf.c",
  "native/linux.c",
  "native/quickjs.c",
];
const LEFT_OUT = join(ROOT, "initrd/left-out.c");
/** Before the C library's headers, for the engine alone; assert.c is linked with the engine wherever it goes. */
const ENGINE_HEADERS = join(ROOT, "initrd/engine");
const ENGINE_SOURCE = join(ENGINE_HEADERS, "assert.c");
const C_HEADERS = ["native/linux.h", "native/quickjs-module.h"];
const C_MODULES = { "cfsboot:linux": "linux", "cfsboot:host": "host" };

/**
 * The engine, compiled once: objects for the executable and qjsc, from the same sources and flags, since the format of
 * bytecode changes without its version.
 * @returns {Promise<{dir: string, source: string, key: string}>}
 */
async function buildEngine(engine) {
  const { dir: source, key: sourceKey } = await quickjsSource(engine);
  const { sources, flags, qjscFlags } = ENGINES[engine];
  const version = existsSync(join(source, "VERSION"))
    ? readFileSync(join(source, "VERSION"), "utf8").trim()
    : engine;
  const compile = [...FLAGS, ...flags, "-w", `-DCONFIG_VERSION="${version}"`];
  const key = keyOf({
    values: [
      sourceKey,
      await describeCompiler(MUSL_CC),
      JSON.stringify([compile, ENGINES[engine], WEAK_SYMBOLS]),
    ],
    files: [ENGINE_SOURCE, join(ENGINE_HEADERS, "assert.h")],
  });
  const dir = await cachedDirectory(`quickjs-${engine}`, key, async (into) => {
    const object = (name) => join(into, `${name}.o`);
    const own = ["-isystem", ENGINE_HEADERS];
    // Relative names: `__FILE__` ends up in the objects.
    const files = [...[...sources, "quickjs-libc"].map((name) => `${name}.c`), ENGINE_SOURCE];
    const objects = files.map((file) => object(basename(file, ".c")));
    const jobs = files.map((file, i) => async () => {
      await run(MUSL_CC, [...compile, ...own, "-c", file, "-o", objects[i]], { cwd: source });
    });
    await parallel(jobs);
    await run(
      MUSL_CC,
      [
        ...compile,
        ...qjscFlags,
        ...LINK_FLAGS,
        "qjsc.c",
        ...objects,
        "-lm",
        "-o",
        join(into, "qjsc"),
      ],
      { cwd: source },
    );
    const weaken = WEAK_SYMBOLS.map((symbol) => `--weaken-symbol=${symbol}`);
    await run("objcopy", [...weaken, object("libunicode")]);
  });
  return { dir, source, key };
}

/** Runs jobs, as many at a time as there are processors. */
async function parallel(jobs) {
  const queue = [...jobs];
  const worker = async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await job();
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

/** The program as one module for the engine. */
async function bundle(entry, name) {
  const result = await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    outfile: name,
    write: false,
    bundle: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2022",
    external: Object.keys(C_MODULES),
    inject: [join(ROOT, "initrd/no-date.ts")],
    logLevel: "silent",
  });
  return result.outputFiles[0].text;
}

/**
 * Builds the static executable `output` from the TypeScript module `entry`.
 * @param {{entry: string, output: string, engine: import("./quickjs-source.mjs").Engine}} what
 * @returns {Promise<boolean>} false when it was up to date
 */
export async function buildExecutable({ entry, output, engine }) {
  const module = `${basename(output)}.mjs`;
  const [{ dir, source, key: engineKey }, text, compiler] = await Promise.all([
    buildEngine(engine),
    bundle(entry, module),
    describeCompiler(MUSL_CC),
  ]);
  checkMath(text);
  const { sources, flags, qjscOptions } = ENGINES[engine];
  const key = keyOf({
    values: [engineKey, text, compiler, JSON.stringify([module, FLAGS, LINK_FLAGS, OWN_FLAGS])],
    files: [...C_SOURCES, ...C_HEADERS].map((file) => join(ROOT, file)),
  });
  return cachedFile(output, key, async (made, temporary) => {
    writeFileSync(join(temporary, module), text);
    const modules = Object.entries(C_MODULES).flatMap(([from, name]) => ["-M", `${from},${name}`]);
    // In its directory: the module's name, which stack traces show, is the path that is given here.
    await run(
      join(dir, "qjsc"),
      [...qjscOptions, "-m", "-N", "program", ...modules, "-o", "program.c", module],
      { cwd: temporary },
    );
    // The engine's headers are not ours to warn about.
    const compile = [...FLAGS, ...flags, "-isystem", source, `-ffile-prefix-map=${source}=.`];
    const own = [...C_SOURCES, join(temporary, "program.c")];
    const objects = own.map((file) => join(temporary, `${basename(file, ".c")}.o`));
    await parallel(
      own.map((file, i) => async () => {
        await run(MUSL_CC, [...compile, ...OWN_FLAGS, "-c", file, "-o", objects[i]]);
      }),
    );
    const engineObjects = [...sources, "assert"].map((name) => join(dir, `${name}.o`));
    await run(MUSL_CC, [...LINK_FLAGS, ...objects, ...engineObjects, "-lm", "-o", made]);
    await run("strip", ["--strip-all", "--remove-section=.comment", made]);
    checkStatic(made);
    if (engine === "bellard") checkSize(made, basename(output));
    chmodSync(made, 0o755);
  });
}

/** Throws if the program names a function of Math that initrd/left-out.c leaves out. */
function checkMath(text) {
  const absent = [...readFileSync(LEFT_OUT, "utf8").matchAll(/^NO_MATH\w*\((\w+)\)$/gm)];
  const names = absent.map(([, name]) => name).filter((name) => text.includes(`Math.${name}(`));
  if (names.length > 0) {
    throw new Error(`the program uses Math.${names[0]}, which initrd/left-out.c leaves out`);
  }
}

/** Program header types of ELF (elf.h). */
const PT_DYNAMIC = 2;
const PT_INTERP = 3;

/** Throws unless the file is an ELF executable that needs no loader and no libraries. */
export function checkStatic(path) {
  const elf = readFileSync(path);
  const view = new DataView(elf.buffer, elf.byteOffset, elf.length);
  if (view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2) {
    throw new Error(`${path}: expected a 64-bit ELF file`);
  }
  const [offset, size, count] = [
    Number(view.getBigUint64(32, true)),
    view.getUint16(54, true),
    view.getUint16(56, true),
  ];
  for (let i = 0; i < count; i++) {
    const type = view.getUint32(offset + i * size, true);
    if (type === PT_INTERP || type === PT_DYNAMIC) {
      throw new Error(`${path}: expected a static executable, found one for the dynamic loader`);
    }
  }
}

function checkSize(path, name) {
  const { size } = statSync(path);
  if (size > SIZE_LIMIT) {
    throw new Error(
      `${name}: ${size} bytes, ${size - SIZE_LIMIT} more than the limit of ${SIZE_LIMIT}`,
    );
  }
}
