/** What is configured about installations: on the system that installs, and in the image. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fromBytes, toText } from "../../src/formats/bytestring.ts";
import { parseArgument } from "../../src/formats/cmdline.ts";
import {
  type InstallConfig,
  mergeInstallConfigs,
  NO_INSTALL_CONFIG,
  parseInstallToml,
} from "../../src/formats/install-toml.ts";
import { sameKarg, sameKargName } from "../../src/formats/kargs.ts";
import type { Tree } from "../../src/formats/tree.ts";
import { filesOf } from "../../src/model/boot-resources.ts";
import { isComposefsArgument } from "../../src/model/kargs.ts";
import { readContent } from "../deployment/image-content.ts";
import type { Repository } from "../repository/repository.ts";

const MAX_FILE = 1 << 20;

/** A later one hides a file of the same name in an earlier one. */
const DIRECTORIES = ["/usr/lib", "/usr/local/lib", "/etc", "/run"].flatMap((directory) =>
  ["bootc", "cfsboot"].map((name) => `${directory}/${name}/install`),
);

/** A file's path, for messages, and what reads its text. */
type Found = readonly [path: string, read: () => string];

/** Reads all files, in the order of their names. `root` is the directory that stands for `/`. */
export function readInstallConfig(architecture: string, root = "/"): InstallConfig {
  return configOf(architecture, (directory) =>
    namesIn(join(root, directory)).map((name) => {
      const path = join(root, directory, name);
      return [name, [path, () => readFileSync(path, "utf8")]];
    }),
  );
}

/** The same of an image. */
export function imageInstallConfig(
  repository: Repository,
  tree: Tree,
  architecture: string,
): InstallConfig {
  return configOf(architecture, (directory) =>
    filesOf(tree, directory.split("/").slice(1)).map(([key, content]) => {
      const name = toText(key) ?? "";
      const path = `${directory}/${name} of the image`;
      const read = () => toText(fromBytes(readContent(repository, content, MAX_FILE))) ?? "";
      return [name, [path, read]];
    }),
  );
}

/** Arguments that a configuration leaves out, unless somebody has asked for them: whole ones, or names. */
export function deletesOf({ kargDeletes }: InstallConfig, asked: readonly string[]): string[] {
  return kargDeletes.filter(
    (deleted) =>
      !asked.some((karg) =>
        deleted.includes("=") ? sameKarg(karg, deleted) : sameKargName(karg, deleted),
      ),
  );
}

/** Throws for arguments, whole ones or names, without which nothing would boot. */
export function requireDeletable(deleted: readonly string[]): void {
  for (const karg of deleted) {
    if (!isComposefsArgument(`${parseArgument(karg).key}=`)) continue;
    throw new Error(`the argument ${karg} cannot be left out: it chooses the image`);
  }
}

function configOf(
  architecture: string,
  list: (directory: string) => readonly (readonly [name: string, found: Found])[],
): InstallConfig {
  const files = new Map(DIRECTORIES.flatMap(list).filter(([name]) => name.endsWith(".toml")));
  return [...files.keys()].sort().reduce((config, name) => {
    const [path, read] = files.get(name)!;
    return mergeInstallConfigs(config, parseInstallToml(read(), path, architecture));
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
