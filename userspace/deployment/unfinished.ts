/** What commands leave that are cut off, by a power failure for example. */
import { type ByteString, fromText, toBytes } from "../../src/formats/bytestring.ts";
import { DT_DIR } from "../../src/linux/constants.ts";
import { removeTree, TEMPORARY, withDirectory } from "../../src/linux/directories.ts";
import { removeUnfinishedEntries } from "../bootloader/entries.ts";
import { removeUnfinishedGrubEnv } from "../bootloader/grub-counter.ts";
import { removeUnfinishedKernels } from "../bootloader/kernels.ts";
import { readDirectory } from "../repository/links.ts";
import { ASIDE } from "./etc/merge.ts";
import { removeEtc } from "./etc/remove.ts";
import { DEPLOY, type Host, RECORDS } from "./host.ts";
import { removeUnfinishedStates } from "./state.ts";

const ETC_ASIDE = fromText(`etc${ASIDE}`);

/** Removes it all. Whoever calls this must be the only one who changes deployments. */
export function removeUnfinished(host: Host): void {
  const { linux, sysroot } = host;
  for (const place of host.places) {
    removeUnfinishedEntries(linux, place);
    removeUnfinishedKernels(linux, place);
    removeUnfinishedGrubEnv(linux, place);
  }
  removeUnfinishedStates(host);
  for (const { name, type } of readDirectory(linux, sysroot, DEPLOY)) {
    if (type === DT_DIR) removeUnfinishedFiles(host, toBytes(`${DEPLOY}/${name}` as ByteString));
  }
  removeUnfinishedFiles(host, RECORDS);
}

function removeUnfinishedFiles({ linux, sysroot }: Host, path: string | Uint8Array): void {
  const left = readDirectory(linux, sysroot, path)
    .map(({ name }) => name)
    .filter((name) => name === ETC_ASIDE || name.endsWith(TEMPORARY));
  if (left.length === 0) return;
  withDirectory(linux, sysroot, path, (directory) => {
    for (const name of left) {
      if (name === ETC_ASIDE) removeEtc(linux, directory, toBytes(name));
      else removeTree(linux, directory, toBytes(name));
    }
  });
}
