/**
 * `storage.conf`: where containers' storage keeps images, containers-storage.conf(5).
 *
 *     [storage]
 *     driver = "overlay"
 *     graphroot = "/var/lib/containers/storage"
 *     rootless_storage_path = "$HOME/.local/share/containers/storage"   # graphroot of users
 *     imagestore = "/var/lib/images"                # images are there, containers in the graphroot
 *     [storage.options]
 *     additionalimagestores = ["/usr/lib/containers/storage"]            # looked in as well, never written to
 *
 * Keys that are not listed here are left to other programs.
 */
import { parseToml } from "./toml-document.ts";

/** What one file says, or several together; `undefined` where none says anything. Paths may hold `$VARIABLES`. */
export interface StorageConf {
  readonly driver: string | undefined;
  readonly graphRoot: string | undefined;
  readonly rootlessStoragePath: string | undefined;
  readonly imageStore: string | undefined;
  readonly additionalImageStores: readonly string[] | undefined;
}

/** What no file at all means. */
export const NO_STORAGE_CONF: StorageConf = {
  driver: undefined,
  graphRoot: undefined,
  rootlessStoragePath: undefined,
  imageStore: undefined,
  additionalImageStores: undefined,
};

/** Parses the text of the file called `file` in messages, which name the key and what was expected. */
export function parseStorageConf(text: string, file: string): StorageConf {
  const storage = parseToml(text, file).optionalTable("storage");
  // an empty text is how people leave a key out
  const string = (key: string) => storage?.optionalString(key) || undefined;
  return {
    driver: string("driver"),
    graphRoot: string("graphroot"),
    rootlessStoragePath: string("rootless_storage_path"),
    imageStore: string("imagestore"),
    additionalImageStores: storage
      ?.optionalTable("options")
      ?.optionalStrings("additionalimagestores"),
  };
}

/** Together: what a later file says replaces what an earlier one says of the same key. */
export function mergeStorageConf(first: StorageConf, then: StorageConf): StorageConf {
  return {
    driver: then.driver ?? first.driver,
    graphRoot: then.graphRoot ?? first.graphRoot,
    rootlessStoragePath: then.rootlessStoragePath ?? first.rootlessStoragePath,
    imageStore: then.imageStore ?? first.imageStore,
    additionalImageStores: then.additionalImageStores ?? first.additionalImageStores,
  };
}
