"use strict";
for (const figure of document.querySelectorAll("figure")) {
  const slider = figure.querySelector("input");
  const show = () => figure.querySelector(".pictures").style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", show);
  show();
}
