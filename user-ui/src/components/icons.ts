/** The page's icons, drawn in the colour of the surrounding text. */

import { svg, html, type TemplateResult } from "lit";

function icon(shape: TemplateResult<2>): TemplateResult {
  return html`<svg
    viewBox="0 0 24 24"
    fill="none"
    stroke="currentColor"
    stroke-width="2"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    ${shape}
  </svg>`;
}

export const moonIcon = icon(
  svg`<path d="M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z" />`,
);
export const sunIcon = icon(
  svg`<circle cx="12" cy="12" r="4" /><path d="M12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1" />`,
);
export const alertIcon = icon(
  svg`<path d="M12 8.5v4.5M12 16.5h.01M10.6 4.3 2.8 18a1.6 1.6 0 0 0 1.4 2.4h15.6a1.6 1.6 0 0 0 1.4-2.4L13.4 4.3a1.6 1.6 0 0 0-2.8 0z" />`,
);
export const sendIcon = icon(svg`<path d="M12 19V5M6 11l6-6 6 6" />`);
export const stopIcon = icon(
  svg`<rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" />`,
);
export const attachIcon = icon(
  svg`<path d="M20 11.5l-8.2 8.2a5 5 0 0 1-7-7l8.6-8.6a3.3 3.3 0 0 1 4.7 4.7l-8.3 8.3a1.7 1.7 0 0 1-2.4-2.4l7.6-7.6" />`,
);
export const fileIcon = icon(
  svg`<path d="M13 3H7a1 1 0 0 0-1 1v16a1 1 0 0 0 1 1h10a1 1 0 0 0 1-1V8zM13 3v5h5" />`,
);
export const cameraIcon = icon(
  svg`<path d="M4 8h3.5l1.5-2.5h6L16.5 8H20a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1z" /><circle cx="12" cy="13" r="3.5" />`,
);
export const checkIcon = icon(svg`<path d="M5 12.5l4.5 4.5L19 7.5" />`);
export const downIcon = icon(svg`<path d="M12 5v14M6 13l6 6 6-6" />`);
export const backIcon = icon(svg`<path d="M19 12H5M11 6l-6 6 6 6" />`);
export const settingsIcon = icon(
  svg`<path d="M4 7h9M19 7h1M4 17h1M11 17h9" /><circle cx="16" cy="7" r="2.5" /><circle cx="8" cy="17" r="2.5" />`,
);
export const toolsIcon = icon(
  svg`<path d="M14.6 6.4a3.9 3.9 0 0 1 5-1.4l-2.7 2.7v2.4h2.4L22 7.4a3.9 3.9 0 0 1-5.4 4.7L8.4 20.3a2.1 2.1 0 0 1-3-3l8.2-8.2a3.9 3.9 0 0 1 1-2.7z" transform="translate(-1.2 -.5)" />`,
);
export const connectionsIcon = icon(
  svg`<path d="M9.5 14.5l5-5M11 6.5l1.6-1.6a4.2 4.2 0 0 1 6 6L17 12.5M13 17.5l-1.6 1.6a4.2 4.2 0 0 1-6-6L7 11.5" />`,
);
export const agentIcon = icon(
  svg`<rect x="4" y="8" width="16" height="11" rx="3" /><path d="M12 8V4.5M9 13h.01M15 13h.01M9.5 16h5" />`,
);
export const adminIcon = icon(
  svg`<circle cx="9" cy="9" r="3" /><path d="M3.5 19a5.5 5.5 0 0 1 11 0M16 6.5a3 3 0 0 1 0 5M17 14a5.5 5.5 0 0 1 3.5 5" />`,
);
export const mailIcon = icon(
  svg`<rect x="3" y="5" width="18" height="14" rx="2.5" /><path d="m4 7 8 6 8-6" />`,
);
export const dotIcon = icon(svg`<circle cx="12" cy="12" r="4.5" fill="currentColor" />`);
export const ringIcon = icon(svg`<path d="M12 4a8 8 0 1 1-8 8" />`);
export const menuIcon = icon(svg`<path d="M4 7h16M4 12h16M4 17h16" />`);
export const newIcon = icon(svg`<path d="M12 5v14M5 12h14" />`);
export const closeIcon = icon(svg`<path d="M6 6l12 12M18 6 6 18" />`);
export const moreIcon = icon(
  svg`<circle cx="5" cy="12" r="1" fill="currentColor" /><circle cx="12" cy="12" r="1" fill="currentColor" /><circle cx="19" cy="12" r="1" fill="currentColor" />`,
);
export const pinIcon = icon(svg`<path d="M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v5" />`);
