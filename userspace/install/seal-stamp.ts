/** Below the physical root: fs-verity is to be turned on when the machine boots. `cfsboot-seal.service` waits for it. */
export const SEAL_STAMP = "state/seal-at-first-boot";
