/** The platform that images are pulled for when nothing else is said: this machine's. */
import type { ImagePlatform } from "../../src/formats/oci.ts";

/** Node's names of processor architectures, where Go's differ. Debian and others run Node on little-endian POWER only. */
const GO_ARCHITECTURE: Readonly<Record<string, string>> = {
  x64: "amd64",
  ia32: "386",
  ppc64: "ppc64le",
};

export function currentPlatform(): ImagePlatform {
  return { os: "linux", architecture: GO_ARCHITECTURE[process.arch] ?? process.arch };
}
