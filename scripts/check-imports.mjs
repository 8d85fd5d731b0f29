/**
 * Checks which module may import which: `node scripts/check-imports.mjs`.
 *
 * Arrows point one way: formats <- model <- linux <- (initrd | userspace); inside userspace the order of `LAYERS`.
 * Import cycles are errors, also between types. Exit status 1 and one line per fault.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** Each layer: the folder, the layers that it may import besides itself, the packages that it may use. */
const LAYERS = [
  { name: "src/formats", may: [], packages: ["smol-toml"] },
  { name: "src/model", may: ["src/formats"], packages: [] },
  { name: "src/linux", may: ["src/formats", "src/model"], packages: [] },
  {
    name: "initrd",
    may: ["src/formats", "src/model", "src/linux"],
    packages: ["cfsboot:linux", "cfsboot:host"],
  },
  // userspace/*.ts: what the whole Node half stands on (the Linux provider, hashing, compression)
  {
    name: "userspace",
    may: ["src/formats", "src/model", "src/linux"],
    packages: ["node:", "fflate", "fzstd", "@hpcc-js/wasm-zstd"],
  },
  { name: "userspace/repository", may: ["src/", "userspace"], packages: ["node:"] },
  { name: "userspace/container", may: ["src/", "userspace"], packages: ["node:"] },
  {
    name: "userspace/oci",
    may: ["src/", "userspace", "userspace/repository"],
    packages: ["node:", "undici"],
  },
  {
    name: "userspace/bootloader",
    may: ["src/", "userspace", "userspace/repository"],
    packages: ["node:"],
  },
  {
    name: "userspace/deployment",
    may: ["src/", "userspace", "userspace/repository", "userspace/oci", "userspace/bootloader"],
    packages: ["node:", "node-diff3"],
  },
  {
    name: "userspace/install",
    may: [
      "src/",
      "userspace",
      "userspace/repository",
      "userspace/oci",
      "userspace/deployment",
      "userspace/bootloader",
    ],
    packages: ["node:"],
  },
  {
    name: "userspace/cli",
    may: ["src/", "userspace"],
    packages: ["node:", "commander", "cli-progress", "yaml"],
  },
];

/** The layer that a file belongs to: the longest folder that holds it. */
function layerOf(file) {
  return LAYERS.filter((layer) => file.startsWith(`${layer.name}/`)).sort(
    (a, b) => b.name.length - a.name.length,
  )[0];
}

/** Whether `layer` may import from `target`. `src/` stands for all of src; the command line may use all of userspace. */
function allowed(layer, target) {
  if (layer === target) return true;
  if (layer.name === "userspace/cli" && target.name.startsWith("userspace")) return true;
  return layer.may.some((m) => (m.endsWith("/") ? target.name.startsWith(m) : target.name === m));
}

function allowedPackage(layer, specifier) {
  if (builtinModules.includes(specifier)) return false; // must be spelled node:
  return layer.packages.some((p) =>
    p.endsWith(":") ? specifier.startsWith(p) : specifier === p || specifier.startsWith(`${p}/`),
  );
}

function* sources(root, folder) {
  let names;
  try {
    names = readdirSync(join(root, folder));
  } catch (error) {
    if (error.code === "ENOENT") return;
    throw error;
  }
  for (const name of names.sort()) {
    const path = join(folder, name);
    if (statSync(join(root, path)).isDirectory()) yield* sources(root, path);
    else if (/\.m?ts$/.test(name)) yield path;
  }
}

/** Specifiers that a module imports or re-exports, static or dynamic, types included, with their lines. */
function imports(text) {
  const found = [];
  const statement =
    /^[ \t]*(?:import|export)\b(?:[^"';()]|\n)*?\bfrom\s*"([^"]+)"|^[ \t]*import\s*"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/gm;
  for (const match of text.matchAll(statement)) {
    const specifier = match[1] ?? match[2] ?? match[3];
    const line = text.slice(0, match.index).split("\n").length;
    found.push({ specifier, line });
  }
  return found;
}

/** All faults below `root`, as lines of text. */
export function importFaults(root) {
  const faults = [];
  const graph = new Map();
  for (const folder of ["src", "initrd", "userspace"]) {
    for (const file of sources(root, folder)) {
      const layer = layerOf(file);
      if (layer === undefined) {
        faults.push(`${file}: belongs to no layer`);
        continue;
      }
      const edges = [];
      graph.set(file, edges);
      for (const { specifier, line } of imports(readFileSync(join(root, file), "utf8"))) {
        if (!specifier.startsWith(".")) {
          if (!allowedPackage(layer, specifier))
            faults.push(`${file}:${line}: ${layer.name} may not use the package ${specifier}`);
          continue;
        }
        const target = normalize(join(dirname(file), specifier));
        const targetLayer = layerOf(target);
        // package.json is read for the version
        if (targetLayer === undefined && target !== "package.json")
          faults.push(`${file}:${line}: product code may not import ${target}`);
        else if (targetLayer !== undefined && !allowed(layer, targetLayer))
          faults.push(
            `${file}:${line}: ${layer.name} may not import from ${targetLayer.name} (${target})`,
          );
        else edges.push(target);
      }
    }
  }
  return [...faults, ...cycles(graph)];
}

function cycles(graph) {
  const faults = [];
  const state = new Map();
  const trail = [];
  const visit = (file) => {
    if (state.get(file) === "done") return;
    if (state.get(file) === "open") {
      faults.push(`import cycle: ${[...trail.slice(trail.indexOf(file)), file].join(" -> ")}`);
      return;
    }
    state.set(file, "open");
    trail.push(file);
    for (const target of graph.get(file) ?? []) visit(target);
    trail.pop();
    state.set(file, "done");
  };
  for (const file of graph.keys()) visit(file);
  return faults;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = normalize(join(dirname(fileURLToPath(import.meta.url)), ".."));
  const faults = importFaults(root);
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) process.exitCode = 1;
  else console.log(`imports: in order (${relative(process.cwd(), root) || "."})`);
}
