/// <reference types="vite/client" />
interface ImportMetaEnv {
  /** Origin of the management server, when it is not the page's own. Set at build time. */
  readonly VITE_API_URL?: string;
}
