/** What is configured about installations on the system that installs: in the image's own container that is the image. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type InstallConfig,
  mergeInstallConfigs,
  NO_INSTALL_CONFIG,
  parseInstallToml,
} from "../../src/formats/install-toml.ts";

/** A later one hides a file of the same name in an earlier one. */
const DIRECTORIES = ["/usr/lib", "/usr/local/lib", "/etc", "/run"].flatMap((directory) =>
  ["bootc", "cfsboot"].map((name) => `${directory}/${name}/install`),
);

/** Reads all files, in the order of their names. `root` is the directory that stands for `/`. */
export function readInstallConfig(architecture: string, root = "/"): InstallConfig {
  const files = new Map<string, string>();
  for (const directory of DIRECTORIES) {
    for (const name of namesIn(join(root, directory))) {
      if (name.endsWith(".toml")) files.set(name, join(root, directory, name));
    }
  }
  return [...files.keys()].sort().reduce((config, name) => {
    const path = files.get(name)!;
    const more = parseInstallToml(readFileSync(path, "utf8"), path, architecture);
    return mergeInstallConfigs(config, more);
  }, NO_INSTALL_CONFIG);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
