/**
 * Configuration of installations, `install/*.toml` of bootc and cfsboot:
 *
 *     [install]
 *     root-fs-type = "ext4"
 *     kargs = ["console=ttyS0"]
 *     karg-deletes = ["quiet"]
 *     bootloader = "systemd"
 *     discoverable-partitions = true
 *     match-architectures = ["x86_64"]       # of the whole file; absent: all
 *
 *     [install.filesystem.root]
 *     type = "ext4"                          # the same as root-fs-type, and counts before it
 *
 * Of several files the one whose name comes last counts, key by key; lists are joined. Keys that say nothing about what we
 * do (bootc's for ostree, for instance) are passed over.
 */
import { parseKargs } from "./kargs.ts";
import { kargsArchitecture } from "./kargs-toml.ts";
import { parseToml } from "./toml-document.ts";

export const FILE_SYSTEMS = ["ext4", "btrfs", "xfs"] as const;
export type FileSystem = (typeof FILE_SYSTEMS)[number];
export const BOOT_LOADERS = ["systemd", "grub", "none"] as const;
export type BootLoader = (typeof BOOT_LOADERS)[number];

export interface InstallConfig {
  readonly fileSystem: FileSystem | undefined;
  readonly bootLoader: BootLoader | undefined;
  readonly kargs: readonly string[];
  readonly kargDeletes: readonly string[];
  /** Whether the root partition is found by its type, so that no root= says where it is. */
  readonly discoverable: boolean | undefined;
  readonly rootMountSpec: string | undefined;
}

export const NO_INSTALL_CONFIG: InstallConfig = {
  fileSystem: undefined,
  bootLoader: undefined,
  kargs: [],
  kargDeletes: [],
  discoverable: undefined,
  rootMountSpec: undefined,
};

/**
 * Reads one file's text; nothing of it counts on another architecture (as OCI names it) than it is for. Throws an error that
 * names `file` and the key, or the line.
 */
export function parseInstallToml(text: string, file: string, architecture: string): InstallConfig {
  const table = parseToml(text, file).optionalTable("install");
  if (table === undefined) return NO_INSTALL_CONFIG;
  const only = table.optionalStrings("match-architectures");
  if (only?.includes(kargsArchitecture(architecture)) === false) return NO_INSTALL_CONFIG;
  const oneOf = <T extends string>(value: string | undefined, key: string, all: readonly T[]) => {
    if (value === undefined || all.includes(value as T)) return value as T | undefined;
    return table.fail(key, `expected one of ${all.join(", ")}`);
  };
  const kargsOf = (key: string) =>
    (table.optionalStrings(key) ?? []).flatMap((text) => {
      try {
        return parseKargs(text);
      } catch (error) {
        return table.fail(key, (error as Error).message);
      }
    });
  const root = table.optionalTable("filesystem")?.optionalTable("root");
  const type = root?.optionalString("type");
  return {
    fileSystem:
      oneOf(type, "filesystem.root.type", FILE_SYSTEMS) ??
      oneOf(table.optionalString("root-fs-type"), "root-fs-type", FILE_SYSTEMS),
    bootLoader: oneOf(table.optionalString("bootloader"), "bootloader", BOOT_LOADERS),
    kargs: kargsOf("kargs"),
    kargDeletes: kargsOf("karg-deletes"),
    discoverable: table.has("discoverable-partitions")
      ? table.boolean("discoverable-partitions")
      : undefined,
    rootMountSpec: table.optionalString("root-mount-spec"),
  };
}

/** Both; where both say something about one key, `later`. */
export function mergeInstallConfigs(earlier: InstallConfig, later: InstallConfig): InstallConfig {
  return {
    fileSystem: later.fileSystem ?? earlier.fileSystem,
    bootLoader: later.bootLoader ?? earlier.bootLoader,
    kargs: [...earlier.kargs, ...later.kargs],
    kargDeletes: [...earlier.kargDeletes, ...later.kargDeletes],
    discoverable: later.discoverable ?? earlier.discoverable,
    rootMountSpec: later.rootMountSpec ?? earlier.rootMountSpec,
  };
}
